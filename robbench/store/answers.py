"""A model's answers to a few questions, stored with each run.

They change with what no hash of code and weights covers, such as other files that the model reads.

They are compared with a tolerance and are no part of a hash: the last bits of an answer depend on
processor and threads, and any rounding has a border that they can cross.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from robbench.core.documents import parse_json
from robbench.core.errors import UserError

RELATIVE, ABSOLUTE = 1e-3, 1e-5
"""What rounding may change in an answer, relative to its logits' spread and size."""
SPREADS = 3.0
"""How far apart answers of a random model may be, in distances between two of its own."""


def same_answers(
    one: str | None, other: str | None, parts: Sequence[str] = ("samples", "made")
) -> bool:
    """Whether two texts of answers can be of one model.

    `made` alone compares runs on other samples.

    Runs of an older robbench kept none: then nothing speaks against it.
    """
    if one is None or other is None or one == other:
        return True
    try:
        (a, spread), (b, spread_too) = _read(one, parts), _read(other, parts)
    except (UserError, ValueError, KeyError, TypeError):
        return False
    if a.shape != b.shape or (np.isfinite(a) != np.isfinite(b)).any():
        return False
    a, b = np.nan_to_num(a, posinf=0, neginf=0), np.nan_to_num(b, posinf=0, neginf=0)
    sizes = [RELATIVE * _size(x - x.mean(1, keepdims=True)) + ABSOLUTE * _size(x) for x in (a, b)]
    return bool((_size(a - b) <= np.maximum(*sizes) + SPREADS * max(spread, spread_too)).all())


def largest_output(text: str | None) -> float:
    """The largest size of an output in a text of answers, 0 where none can be read."""
    if text is None:
        return 0.0
    try:
        outputs, _ = _read(text, ("samples", "made"))
    except (UserError, ValueError, KeyError, TypeError):
        return 0.0
    return float(np.abs(outputs[np.isfinite(outputs)]).max(initial=0.0))


def _read(text: str, parts: Sequence[str]) -> tuple[NDArray[np.float64], float]:
    found = parse_json(text, "answers")
    return np.array([row for part in parts for row in found[part]], dtype=np.float64), float(
        found["spread"]
    )


def _size(x: NDArray[np.float64]) -> NDArray[np.float64]:
    size: NDArray[np.float64] = np.sqrt(np.square(x).sum(1))
    return size
