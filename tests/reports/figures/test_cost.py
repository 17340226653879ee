"""Axes of the cost."""

from __future__ import annotations

import pytest

from robbench.reports.figures.plot import draw


@pytest.mark.parametrize("last", [1, 2, 5000])
def test_queries_are_logarithmic_from_one_on(numbers, last):
    """To the last one that was spent, also where all fell with the first."""
    (ax,) = draw(numbers("cost", [1, last], [0.9, 0.5])).figure.axes
    assert ax.get_xscale() == "log"
    assert ax.get_xlim() == (1, max(last, 2))
