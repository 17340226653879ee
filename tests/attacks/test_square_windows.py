"""Square's windows against plain loops over pixels, and the authors' patterns."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from robbench.attacks.square_windows import (
    MARKS,
    both_ways,
    corner,
    grid,
    image_shape,
    offsets,
    pattern,
    place,
    plan,
    pyramid,
    tiled,
    two_halves,
    window_size,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def test_where_a_square_does_not_fit_it_becomes_a_rectangle_of_its_area() -> None:
    """Long images and flat inputs keep p of their pixels; no window is larger than the image."""
    assert window_size(0.8 * 2 * 50, 2, 50, 0) == (2, 40)
    assert window_size(0.8 * 100, 100, 1, 0) == (80, 1)
    assert window_size(0.01, 1, 100, 0) == (1, 1)
    assert window_size(0.01, 1, 100, 2) == (1, 3)
    for height in range(1, 8):
        for width in range(1, 8):
            for power in (0, 1, 2):
                for area in (0.1, 3.0, 0.8 * height * width, height * width):
                    h, w = window_size(area, height, width, power)
                    assert 1 <= h <= height
                    assert 1 <= w <= width


SIDES = st.integers(1, 13)
POWERS = st.sampled_from([1, 2])


@given(SIDES, SIDES, POWERS)
def test_a_pyramid_is_a_sum_of_nested_squares(height: int, width: int, power: int) -> None:
    """Pixel by pixel: the terms of all squares around the middle that reach it."""
    found = pyramid(height, width, power)
    last = max(height, width) // 2
    for i in range(height):
        for j in range(width):
            k = max(abs(i - height // 2), abs(j - width // 2))
            expected = sum((n + 1) ** (-4 / power) for n in range(k, last + 1))
            assert float(found[i, j]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("norm", "power"), [("L2", 2), ("L1", 1)])
@pytest.mark.parametrize("side", [3, 5, 7, 11])
def test_patterns_are_the_authors(norm: str, power: int, side: int) -> None:
    """The same numbers, up to their single precision, in one of the two ways."""
    package = pytest.importorskip("pyautoattack.square")
    peer = package.SquareAttack(None, norm=norm, device="cpu")
    for height in (side // 2, side - side // 2):
        ours = pyramid(height, side, power)
        ours = ours / (ours**power).sum() ** (1 / power)
        theirs = peer.eta_rectangles(height, side)
        assert torch.allclose(ours.float(), theirs, atol=1e-6)
    ways, seen = both_ways(side, side, power).float(), set()
    for seed in range(20):
        torch.manual_seed(seed)
        eta = peer.eta(side)
        same = [torch.allclose(way, eta, atol=1e-6) for way in ways]
        assert any(same)
        seen.add(tuple(same))
    assert len(seen) == 2


@given(SIDES, SIDES, POWERS)
def test_two_halves_have_size_one_and_opposite_signs(height: int, width: int, power: int) -> None:
    """The size is that of the norm; a window of one row has the lower half only."""
    halves = two_halves(height, width, power)
    assert float((halves.abs() ** power).sum()) == pytest.approx(1, rel=1e-12)
    assert bool((halves[: height // 2] > 0).all())
    assert bool((halves[height // 2 :] < 0).all())
    beside = both_ways(height, width, power)[1]
    assert torch.equal(beside, two_halves(width, height, power).T)


@pytest.mark.parametrize("power", [0, 1, 2])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (5, 12), (1, 9), (28, 28)])
def test_the_plan_halves_the_area_at_each_mark(height: int, width: int, power: int) -> None:
    """A level before each mark and one after; the pattern fills the window's corner only."""
    found = plan(height, width, 0.8, power, torch.float64, torch.device("cpu"))
    assert tuple(found.marks.tolist()) == MARKS
    for level in range(len(MARKS) + 1):
        h, w = window_size(0.8 * height * width / 2**level, height, width, power)
        assert (int(found.height[level]), int(found.width[level])) == (h, w)
        if power:
            assert torch.equal(found.eta[level, :, :h, :w], both_ways(h, w, power))
        rest = found.eta[level].clone()
        rest[:, :h, :w] = 0
        assert not rest.any()


def _drawn(rows: int, height: int, width: int, seed: int) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    draw = torch.Generator().manual_seed(seed)
    sizes = [torch.randint(1, n + 1, (rows,), generator=draw) for n in (height, width)]
    return torch.rand(rows, 2, generator=draw), (sizes[0], sizes[1])


@given(SIDES, SIDES, st.integers(0, 99))
def test_a_window_lies_inside_at_its_place(height: int, width: int, seed: int) -> None:
    """Against slices of an array: the window is inside, and each pixel knows its place in it."""
    u, (h, w) = _drawn(6, height, width, seed)
    window = place(u, (h, w), height, width)
    for row in range(6):
        top = int(float(u[row, 0]) * (height - int(h[row]) + 1))
        left = int(float(u[row, 1]) * (width - int(w[row]) + 1))
        plain = np.zeros((height, width), dtype=bool)
        plain[top : top + int(h[row]), left : left + int(w[row])] = True
        assert plain.sum() == int(h[row]) * int(w[row])
        assert np.array_equal(window.mask[row, 0].numpy(), plain)
        assert window.i[row, :, 0].tolist() == [n - top for n in range(height)]
        assert window.j[row, 0].tolist() == [n - left for n in range(width)]


def test_the_ends_of_the_random_numbers_are_the_ends_of_the_image() -> None:
    """0 is the first place, the largest number below 1 the last one."""
    u = torch.tensor([[0.0, 0.0], [1 - 2**-24, 1 - 2**-24]])
    window = place(u, (torch.tensor([2, 2]), torch.tensor([3, 3])), 5, 7)
    corners = [mask[0].nonzero()[[0, -1]].tolist() for mask in window.mask]
    assert corners == [[[0, 0], [1, 2]], [[3, 4], [4, 6]]]


@pytest.mark.parametrize("power", [1, 2])
def test_a_pattern_is_written_into_its_window(power: int) -> None:
    """Row by row its own level, way and place, against a copy into a larger array."""
    height, width, rows = 9, 12, 40
    table = plan(height, width, 0.8, power, torch.float64, torch.device("cpu"))
    draw = torch.Generator().manual_seed(power)
    level = torch.randint(0, len(MARKS) + 1, (rows,), generator=draw)
    way = torch.randint(0, 2, (rows,), generator=draw)
    u = torch.rand(rows, 2, generator=draw)
    window = place(u, (table.height[level], table.width[level]), height, width)
    found = pattern(table.eta, level, way, window)
    for row in range(rows):
        h, w = int(table.height[level[row]]), int(table.width[level[row]])
        top, left = (int(n) for n in window.mask[row, 0].nonzero()[0])
        plain = np.zeros((height, width))
        plain[top : top + h, left : left + w] = both_ways(h, w, power)[int(way[row])].numpy()
        assert np.array_equal(found[row, 0].numpy(), plain)


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (11, 6), (3, 14), (24, 24), (1, 1)])
def test_tiles_cover_the_middle_of_the_image(height: int, width: int, power: int) -> None:
    """Each tile has its own way and, by channel, its own sign; the rest stays zero."""
    (h, w), (n, m) = grid(height, width)
    assert (h, w) == (max(1, height // 5), max(1, width // 5))
    assert height - h < n * h <= height
    assert width - w < m * w <= width
    draw = torch.Generator().manual_seed(height)
    ways = torch.rand(2, 1, n, m, generator=draw) < 0.5
    signs = torch.rand(2, 3, n, m, generator=draw, dtype=torch.float64).sub(0.5).sign()
    found = tiled(ways, signs, height, width, power)
    plain = np.zeros((2, 3, height, width))
    top, left = (height - n * h) // 2, (width - m * w) // 2
    etas = both_ways(h, w, power).numpy()
    for b, c, i, j in np.ndindex(2, 3, n, m):
        plain[b, c, top + i * h : top + (i + 1) * h, left + j * w : left + (j + 1) * w] = (
            float(signs[b, c, i, j]) * etas[int(ways[b, 0, i, j])]
        )
    assert np.array_equal(found.numpy(), plain)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((7,), (1, 1, 7)), ((5, 7), (1, 5, 7)), ((3, 5, 7), (3, 5, 7)), ((2, 3, 5, 7), (6, 5, 7))],
)
def test_any_input_is_an_image(shape: tuple[int, ...], expected: tuple[int, int, int]) -> None:
    """With all its entries."""
    assert image_shape(torch.Size(shape)) == expected
    assert math.prod(expected) == math.prod(shape)


@pytest.mark.parametrize("levels", [[*range(10)], [3, 4], [0], [9]], ids=str)
@pytest.mark.parametrize("shape", [(32, 32), (11, 6), (3, 14), (1, 20), (1, 1)], ids=str)
def test_offsets_lead_to_the_pixels_of_the_mask(shape: tuple[int, int], levels: list[int]) -> None:
    """Both ways to say where a window lies name the same pixels, of some levels at once."""
    sizes = plan(*shape, 0.8, 0, torch.float32, torch.device("cpu"))
    level = torch.tensor(levels)[torch.arange(400) % len(levels)]
    size = sizes.height[level], sizes.width[level]
    u = torch.rand(400, 2, generator=torch.Generator().manual_seed(0))
    found = torch.zeros(400, shape[0] * shape[1], dtype=torch.bool)
    first = corner(u[:, 0], size[0], shape[0]) * shape[1] + corner(u[:, 1], size[1], shape[1])
    found.scatter_(1, (first[:, None] + offsets(sizes, level)).flatten(1), True)
    assert torch.equal(found, place(u, size, *shape).mask.flatten(1))
