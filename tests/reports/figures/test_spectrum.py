"""Axes of the spectrum."""

from __future__ import annotations

import pytest

from robbench.reports.figures.plot import draw


@pytest.mark.parametrize("n", [1, 2, 64])
def test_directions_are_counted_and_values_logarithmic(numbers, n):
    """Whole directions from 1 on, for any number of them."""
    made = draw(numbers("spectrum", list(range(1, n + 1)), [0.5**i for i in range(n)]))
    (ax,) = made.figure.axes
    assert ax.get_yscale() == "log"
    assert ax.get_xlim()[0] == 1
    assert all(tick == int(tick) for tick in ax.get_xticks())
