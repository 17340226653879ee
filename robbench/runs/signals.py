"""Ctrl-C and SIGTERM: the first asks to stop after the current step, the second stops at once."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

from robbench.core.errors import Stopped

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


class StopFlag:
    """Set by a signal; falsy until then. `exit_code` is the one the process should end with."""

    exit_code = 0

    def __bool__(self) -> bool:
        return self.exit_code != 0


@contextlib.contextmanager
def stop_flag(say: Callable[[str], None]) -> Iterator[StopFlag]:
    """Handle SIGINT and SIGTERM for the time of a long job; only in the main thread, elsewhere nothing is caught."""
    flag = StopFlag()

    def handle(number: int, frame: FrameType | None) -> None:
        code = EXIT_CODES[signal.Signals(number)]
        if flag:
            raise Stopped(code)
        flag.exit_code = code
        say("stopping after the current step, finished work is kept (again to stop at once)")

    before = {}
    try:
        with contextlib.suppress(ValueError):  # not the main thread
            before = {number: signal.signal(number, handle) for number in EXIT_CODES}
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
