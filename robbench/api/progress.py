"""Progress to a callback, messages to the log, and KeyboardInterrupt for Ctrl-C."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import TypeAlias

from robbench.analysis.forecast import Forecast
from robbench.api.wording import in_python
from robbench.core.errors import Stopped
from robbench.reports.terminal.forecast import forecast_line
from robbench.tasks.listener import Bar, Listener
from robbench.tasks.signals import StopFlag, stop_flag

Progress: TypeAlias = Callable[[float, str], None]
"""Called with the share of the work that is done, in [0,1], and a short text; cheap to ignore."""

log = logging.getLogger("robbench")


def silent(share: float, text: str) -> None:
    """Progress without an observer."""


class Log(Listener):
    """Messages go to the log, the progress of each job to a callback."""

    def __init__(self, progress: Progress) -> None:
        self.callback = progress

    def say(self, text: str) -> None:
        log.info(in_python(text))

    def detail(self, text: str) -> None:
        log.debug(in_python(text))

    def forecast(self, title: str, make: Callable[[], Forecast]) -> Forecast | None:
        if self.callback is silent and not log.isEnabledFor(logging.INFO):
            return None
        found = make()
        if found.samples:
            self.say(f"{title}: {forecast_line(found)}")
            self.callback(0.0, forecast_line(found))
        return found

    @contextlib.contextmanager
    def progress(self, title: str) -> Iterator[Bar]:
        yield _Callback(self.callback)


class _Callback(Bar):
    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def update(self, share: float, text: str, left: str = "") -> None:
        self.progress(share, f"{text}, {left}" if left else text)


@contextlib.contextmanager
def interruptible() -> Iterator[StopFlag]:
    """Ctrl-C lets the current step end and finished work be kept, then raises KeyboardInterrupt.

    SIGTERM raises SystemExit likewise. Outside of the main thread no signal is handled.
    """
    try:
        with stop_flag(log.info) as stop:
            yield stop
            stop.check()
    except Stopped as stopped:
        if stopped.exit_code == 130:
            raise KeyboardInterrupt from None
        raise SystemExit(stopped.exit_code) from None
