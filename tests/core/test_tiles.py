"""Tiles: any number of rows in few shapes, and what holds of their answers."""

from __future__ import annotations

import pytest
import torch

from robbench.core.tiles import RowEquality, Tiles, largest_tile, row_equality, rows_measured
from robbench.engine.oracle import forward_tiles

CPU = torch.device("cpu")

pytestmark = pytest.mark.usefixtures("one_thread")


def test_both_of_two_models() -> None:
    """Where two models are asked the larger step holds, and one that does not agree is enough."""
    fine, coarse, never = (
        RowEquality(8, equal=True),
        RowEquality(32, equal=True),
        RowEquality(8, equal=False, why="batch"),
    )
    assert fine.both(coarse) == coarse.both(fine) == coarse
    assert coarse.both(never) == never.both(coarse) == RowEquality(32, equal=False, why="batch")


def test_tiles_are_filled_with_their_own_first_row() -> None:
    """Any number of rows in tiles of equal shape but the last, which is a multiple of the step."""
    tiles = Tiles(32, 16)
    found = [
        (len(tile), real, tile[real:].unique().tolist())
        for tile, real in tiles.split(torch.arange(70))
    ]
    assert found == [(32, 32, []), (32, 32, []), (16, 6, [64])]
    assert list(tiles.split(torch.arange(0))) == []
    assert [tiles.padded(n) for n in (0, 1, 16, 17)] == [0, 16, 16, 32]
    assert [tiles.narrowed(n).rows for n in (0, 1, 17, 100)] == [16, 16, 32, 32]
    assert forward_tiles(lambda x: x[:, :1], torch.empty(0, 3), tiles).shape == (0, 1)


@pytest.mark.parametrize("tiles", [Tiles(32, 4), Tiles(32, 32), Tiles(12, 6)])
def test_even_tiles_are_as_few_as_the_largest_and_about_as_large(tiles: Tiles) -> None:
    """Of any number of rows, counted one by one."""
    for n in range(tiles.step, 150, tiles.step):
        size = tiles.even(n)
        parts = [min(size, n - i) for i in range(0, n, size)]
        assert sum(parts) == n
        assert len(parts) == len(range(0, n, tiles.rows))
        assert all(part <= tiles.rows and part % tiles.step == 0 for part in parts)
        assert size * len(parts) < n + tiles.step * len(parts)


@pytest.mark.parametrize("batch", [1, 2, 3, 8, 10, 12, 33, 256])
def test_a_tile_is_made_of_whole_batches(batch: int) -> None:
    """Of a model that takes batches of one size; of no more than a tile has room for."""
    usual, tiles = (largest_tile(CPU, (3, 32, 32), n) for n in (1, batch))
    assert tiles.rows % tiles.step == 0
    assert tiles.step % batch == 0 or usual.step % batch == 0
    assert tiles.step >= usual.step
    assert tiles.rows <= max(usual.rows, batch)


@pytest.mark.parametrize("rows", [None, 3, 10, 200])
@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 128, 128)])
def test_the_rows_that_are_measured_are_counted(shape: tuple[int, ...], rows: int | None) -> None:
    """As many as a model that answers equally is really asked for, of each kind of answer."""
    asked = 0

    class Counting(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            nonlocal asked
            asked += len(x)
            return x.flatten(1)[:, :3]

    measured = rows_measured(CPU, shape[1:], rows)
    assert row_equality(Counting(), torch.rand(shape), rows=rows, gradients=False).equal
    assert asked == measured
    assert row_equality(Counting(), torch.rand(shape), rows=rows).equal
    assert asked == 3 * measured  # without and with a graph


def test_large_rows_come_in_small_tiles_that_one_measurement_covers() -> None:
    """Images of 224x224 are asked 8 at a time on a CPU: 20 rows are measured, not 176."""
    small, large = (3, 64, 64), (3, 224, 224)
    assert [largest_tile(CPU, shape) for shape in (small, large)] == [Tiles(32, 4), Tiles(8, 4)]
    assert [rows_measured(CPU, shape) for shape in (small, large)] == [176, 20]
    assert [rows_measured(CPU, shape, 10) for shape in (small, large)] == [56, 20]
    cuda = torch.device("cuda")
    assert [largest_tile(cuda, shape) for shape in (small, large)] == [
        Tiles(256, 32),
        Tiles(64, 32),
    ]
    assert largest_tile(CPU, large, 10) == Tiles(10, 10)
