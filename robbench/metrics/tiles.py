"""Numbers per sample, computed in tiles of one shape: none depends on the other samples."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robbench.core.tiles import Tiles

Columns = dict[str, NDArray[np.generic]]


def in_tiles(
    n: int,
    tile: int,
    compute: Callable[[Tensor], dict[str, Tensor]],
    watch: Callable[[int], None] = lambda done: None,
) -> Columns:
    """The columns of `compute(index [tile])` for samples 0..n-1, joined to arrays [n,...].

    The last tile is filled up with repetitions of its first sample, which are then dropped. `watch`
    is called with the number of samples done. Raises ValueError for n < 1.
    """
    if n < 1:
        raise ValueError("no samples")
    parts: list[dict[str, NDArray[np.generic]]] = []
    for index, real in Tiles(tile, step=tile).split(torch.arange(n)):
        parts.append(
            {name: column[:real].detach().cpu().numpy() for name, column in compute(index).items()}
        )
        watch(int(index[real - 1]) + 1)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
