"""Those who follow an attack in tests."""

from __future__ import annotations

from robbench.tasks.listener import Bar, Listener
from robbench.tasks.signals import StopFlag


class Noting(Listener):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


class Stopping(Bar):
    """Asks to stop as soon as so many samples are decided."""

    def __init__(self, stop: StopFlag, after: int) -> None:
        self.stop, self.after = stop, after

    def update(self, share: float, text: str, left: str = "") -> None:
        if int(text.partition("/")[0]) >= self.after:
            self.stop.exit_code = 130
