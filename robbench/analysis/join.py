"""Runs joined by sample id."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


def common(ids: Ids, others: Ids) -> tuple[Ids, Ids]:
    """Positions of the common samples in `ids` [N] and in `others` [M], in one order.

    Each id is once in each.

    Samples that are the same in the same order keep it; otherwise the order is that of the ids.
    """
    if np.array_equal(ids, others):
        here = np.arange(len(ids))
        return here, here
    _, here, there = np.intersect1d(ids, others, assume_unique=True, return_indices=True)
    return here, there
