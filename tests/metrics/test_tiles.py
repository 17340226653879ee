"""Numbers computed in tiles of one shape."""

from __future__ import annotations

import pytest

from robbench.metrics.tiles import in_tiles


def test_a_tile_is_always_full():
    """What computes sees one shape only; the repetitions that fill it are dropped."""
    shapes = []

    def compute(index):
        shapes.append(tuple(index.shape))
        return {"square": index**2}

    assert in_tiles(7, 4, compute)["square"].tolist() == [i * i for i in range(7)]
    assert shapes == [(4,), (4,)]
    with pytest.raises(ValueError, match="no samples"):
        in_tiles(0, 4, compute)
