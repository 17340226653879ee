"""Ctrl-C and SIGTERM: the first stops after the current step, the second at once.

The first also interrupts a step that takes long. A step that calls slow Python code, or many
operations of torch, ends between two of them; a single operation cannot be interrupted.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

from robbench.core.errors import Stopped

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
PATIENCE = 3.0
"""Seconds a step may take to end by itself."""
AGAIN = 0.5
"""Seconds until a stop that was swallowed is raised again."""


class StopFlag:
    """Set by a signal; falsy until then. `exit_code` is the one the process should end with."""

    exit_code = 0
    busy = False  # with what is not to be interrupted by impatience

    def __bool__(self) -> bool:
        return self.exit_code != 0

    def check(self) -> None:
        """Raise Stopped once a signal has come."""
        if self:
            raise Stopped(self.exit_code)

    @contextlib.contextmanager
    def unhurried(self) -> Iterator[None]:
        """Where finished work is put on disk: only a second signal interrupts that."""
        before, self.busy = self.busy, True
        try:
            yield
        finally:
            self.busy = before


@contextlib.contextmanager
def stop_flag(say: Callable[[str], None]) -> Iterator[StopFlag]:
    """Handle SIGINT and SIGTERM for the time of a long job.

    Only in the main thread, elsewhere nothing is caught.

    Raises Stopped out of a step that has not ended PATIENCE seconds after the first signal.
    """
    flag = StopFlag()

    def handle(number: int, frame: FrameType | None) -> None:
        code = EXIT_CODES[signal.Signals(number)]
        if flag:
            raise Stopped(code)
        flag.exit_code = code
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, PATIENCE, AGAIN)
        say("stopping after the current step, finished work is kept (again to stop at once)")

    def hurry(number: int, frame: FrameType | None) -> None:
        if flag and not flag.busy:
            raise Stopped(flag.exit_code)

    with _handlers(dict.fromkeys(EXIT_CODES, handle) | _alarm(hurry)):
        try:
            yield flag
        finally:
            flag.busy = True
            if flag and hasattr(signal, "setitimer"):
                signal.setitimer(signal.ITIMER_REAL, 0)


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Both signals raise Stopped during a command, so that it says how to resume."""

    def handle(number: int, frame: FrameType | None) -> None:
        raise Stopped(EXIT_CODES[signal.Signals(number)])

    with _handlers(dict.fromkeys(EXIT_CODES, handle)):
        yield


Handler = Callable[[int, FrameType | None], None]


def _alarm(handle: Handler) -> dict[signal.Signals, Handler]:
    return {signal.SIGALRM: handle} if hasattr(signal, "SIGALRM") else {}


@contextlib.contextmanager
def _handlers(wanted: dict[signal.Signals, Handler]) -> Iterator[None]:
    before = {}
    try:
        with contextlib.suppress(ValueError):  # not the main thread
            before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
