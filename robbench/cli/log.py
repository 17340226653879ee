"""What robbench's own log says, on stderr."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator

from robbench.core.escaping import one_line


@contextlib.contextmanager
def log_shown(*, quiet: bool) -> Iterator[None]:
    """For the time of a command: messages of the log are lines, unless --quiet."""

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            print(one_line(record.getMessage()), file=sys.stderr)

    log, lines = logging.getLogger("robbench"), Lines()
    level, spreads = log.level, log.propagate
    log.setLevel(logging.INFO)
    log.propagate = False
    if not quiet:
        log.addHandler(lines)
    try:
        yield
    finally:
        log.removeHandler(lines)
        log.setLevel(level)
        log.propagate = spreads
