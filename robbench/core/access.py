"""What a model shows of itself, and what an attack has to see of it."""

from __future__ import annotations

from typing import Any, Literal

Access = Literal["white-box", "score-based", "decision-based", "none"]
_SHOWN: tuple[Access, ...] = ("none", "decision-based", "score-based", "white-box")
NEEDS = {
    "white-box": "gradients",
    "score-based": "scores",
    "decision-based": "predicted classes",
    "none": "nothing",
}
"""Of the model, what an attack of each access has to see."""


def access_of(model: Any) -> Access:
    """What a model shows: gradients (`white-box`) unless it says otherwise."""
    found: Access = getattr(model, "access", "white-box")
    return found


def shows(model: Access, attack: Access) -> bool:
    """Whether a model shows what an attack has to see."""
    return _SHOWN.index(attack) <= _SHOWN.index(model)
