"""Features of a table in [0,1]: by the range of each in the training data, or a given one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robbench.core.errors import UserError
from robbench.data.base import Units

UnitName = Literal["unit", "raw", "standard"]


class Box(NamedTuple):
    """The values [D] of each feature that become 0 and 1; where they are equal, it is constant."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @property
    def width(self) -> NDArray[np.float64]:
        """[D]."""
        return self.high - self.low

    def scaled(self, values: NDArray[np.float64]) -> NDArray[np.float32]:
        """Values [N,D] in [0,1]; those outside of the box go to its face."""
        width = np.where(self.width > 0, self.width, 1.0)
        return ((values - self.low) / width).clip(0, 1).astype(np.float32)

    def outside(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """[N,D]: which values are not in the box."""
        return (values < self.low) | (values > self.high)


def box_of(values: NDArray[np.float64]) -> Box:
    """The range of each feature in values [N,D]."""
    return Box(values.min(0), values.max(0))


def given_box(
    box: Box, names: Sequence[str], bounds: dict[str, tuple[float, float]], where: str
) -> Box:
    """A box with the bounds given for some features by name. UserError for those that cannot be."""
    low, high = box.low.copy(), box.high.copy()
    for name, (first, last) in bounds.items():
        if name not in names:
            raise UserError(f"{where} names the feature '{name}', which the table lacks")
        if not (np.isfinite(first) and np.isfinite(last) and first <= last):
            raise UserError(f"{where}: the feature '{name}' goes from {first:g} to {last:g}")
        low[names.index(name)], high[names.index(name)] = first, last
    return Box(low, high)


def units_of(kind: UnitName, box: Box, training: NDArray[np.float64]) -> Units | None:
    """What a model of the user's own takes: [0,1], the table's values, or standardised ones.

    Standardised: minus the mean of the training data [N,D], over their deviation, as scikit-learn's
    StandardScaler does.
    """
    if kind == "unit":
        return None
    mean, std = np.zeros_like(box.low), np.ones_like(box.low)
    if kind == "standard":
        mean, std = training.mean(0), training.std(0)
        std = np.where(std > 0, std, 1.0)
    low, width = (box.low - mean) / std, box.width / std
    return Units(tuple(low.tolist()), tuple(width.tolist()))
