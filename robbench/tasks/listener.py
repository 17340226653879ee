"""Who follows a long job: its messages, its forecast and its progress."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from robbench.analysis.forecast import Forecast


class Bar:
    """Progress of one job; this one shows nothing."""

    def update(self, share: float, text: str, left: str = "") -> None:
        """The share of the work that is done, in [0,1], and a short text; called often.

        `left` says what time is left where the job knows better than the share does.
        """

    def resume(self, share: float) -> None:
        """This share was done by an earlier process."""

    def part(self, name: str, done: int, total: int, text: str) -> None:
        """Progress of one part of the job."""


class Listener:
    """Follows a job; this one ignores everything."""

    def say(self, text: str) -> None:
        """A message."""

    def detail(self, text: str) -> None:
        """A message for those who want to know more."""

    def forecast(self, title: str, make: Callable[[], Forecast]) -> Forecast | None:
        """What a job will cost; None, and nothing is measured, where nobody wants to know."""
        return None

    @contextlib.contextmanager
    def progress(self, title: str) -> Iterator[Bar]:
        """The progress of one job, until it ends."""
        yield Bar()
