"""Entries of an input that no attack may change, by number or by a mask."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from robbench.core.errors import UserError


def free_entries(fixed: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The entries [*] that may change, of inputs of this shape.

    fixed: a boolean mask of that shape, true where an entry is fixed; or the numbers of features.
    UserError for anything else.
    """
    if fixed.dtype == np.bool_:
        if fixed.shape != shape:
            raise UserError(
                f"the mask of fixed entries has shape {fixed.shape}; should be {shape}, as an input"
            )
        return ~fixed
    if fixed.ndim != 1 or fixed.dtype.kind not in "iu" or len(shape) != 1:
        raise UserError(
            "fixed should be the numbers of features, or a boolean mask of shape "
            f"{shape}, true where an entry is fixed"
        )
    for number in fixed.tolist():
        if not 0 <= number < shape[0]:
            raise UserError(f"fixed: {number} is no feature; they are 0 to {shape[0] - 1}")
    free = np.ones(shape, np.bool_)
    free[fixed] = False
    return free


def fixed_note(free: NDArray[np.bool_]) -> str:
    """How many are fixed."""
    what = "features" if free.ndim == 1 else "entries"
    return f"{int((~free).sum())} of {free.size} {what} are fixed"
