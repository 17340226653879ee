"""The parts of a threat model as it is written: `linf:8/255`, `linf:8/255 -> cat`."""

from __future__ import annotations

from typing import NamedTuple

ARROW = "->"


class ThreatText(NamedTuple):
    """Norm, budget (`2/255,8/255` of several) and target, None without one; nothing is checked."""

    norm: str
    budget: str
    target: str | None = None

    @property
    def ball(self) -> str:
        """Norm and budget, `linf:8/255`."""
        return f"{self.norm}:{self.budget}"

    def __str__(self) -> str:
        return self.ball if self.target is None else f"{self.ball} {ARROW} {self.target}"


def split_threat(text: str) -> ThreatText:
    """The parts of a text; what it lacks is empty."""
    ball, arrow, target = text.partition(ARROW)
    norm, _, budget = ball.strip().partition(":")
    return ThreatText(norm, budget, target.strip() if arrow else None)
