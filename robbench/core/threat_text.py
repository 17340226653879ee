"""The parts of a threat model as it is written: `linf:8/255`, `linf:8/255 -> cat`.

Of a corruption, `corruption:fog@3`, the norm is `corruption:fog` and the budget its severity, 3.
"""

from __future__ import annotations

from typing import NamedTuple

from robbench.core.corruptions import is_corruption
from robbench.core.errors import UserError

ARROW = "->"
LEAST_LIKELY = "least-likely"
RANDOM = "random"
COLUMN = "column:"


class ThreatText(NamedTuple):
    """Norm, budget (`2/255,8/255` of several) and target, None without one; nothing is checked."""

    norm: str
    budget: str
    target: str | None = None

    @property
    def ball(self) -> str:
        """Norm and budget, `linf:8/255`."""
        return f"{self.norm}{'@' if is_corruption(self.norm) else ':'}{self.budget}"

    def __str__(self) -> str:
        return self.ball if self.target is None else f"{self.ball} {ARROW} {self.target}"


def split_threat(text: str) -> ThreatText:
    """The parts of a text; what it lacks is empty."""
    ball, arrow, target = text.partition(ARROW)
    ball = ball.strip()
    norm, _, budget = ball.rpartition("@") if is_corruption(ball) else ball.partition(":")
    return ThreatText(norm, budget, target.strip() if arrow else None)


def parse_target(text: str) -> str:
    """A target in canonical form. Raises UserError for none, and for a column without a name."""
    text = text.strip()
    if text.lower() in (LEAST_LIKELY, RANDOM):
        return text.lower()
    if not text or not text.isprintable() or ARROW in text or text == COLUMN:
        raise UserError(f"target {text!r}: give a class, {LEAST_LIKELY}, {RANDOM} or {COLUMN}NAME")
    return text
