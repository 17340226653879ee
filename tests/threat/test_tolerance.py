"""Which sizes are inside a budget, and which budgets are one."""

from __future__ import annotations

import math

import pytest

from robbench.threat.tolerance import fits, same_budget


@pytest.mark.parametrize(
    ("eps", "other", "same"),
    [
        (8 / 255, 0.0313725, True),
        (4 / 255, 0.0156863, True),
        (1 / 255, 0.00392157, True),
        (8 / 255, 0.03137255, True),
        (math.inf, math.inf, True),
        (0.0, 0.0, True),
        (8 / 255, 0.03137, False),
        (0.1, 0.1001, False),
        (0.1, math.inf, False),
        (5.0, 6.0, False),
    ],
)
def test_budgets_written_with_six_digits_are_one(eps: float, other: float, same: bool) -> None:
    """Whichever comes first; fewer digits are another budget."""
    assert same_budget(eps, other) is same
    assert same_budget(other, eps) is same


def test_a_size_fits_up_to_rounding() -> None:
    """1e-5 of the budget and 1e-7."""
    assert fits(0.1 + 1e-6 + 0.9e-7, 0.1)
    assert not fits(0.1 + 1e-6 + 1.1e-7, 0.1)
    assert fits(1e9, math.inf)
    assert not fits(math.inf, 1e9)
