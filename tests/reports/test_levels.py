"""Sizes as k/255."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from robbench.reports.levels import in_levels, level, level_ticks


@pytest.mark.parametrize(
    ("norm", "budgets", "yes"),
    [
        ("linf", [8 / 255, 16 / 255], True),
        ("linf", [0.0, 0.031372549], True),
        ("linf", [math.inf], True),
        ("linf", [8 / 255, 0.15], False),
        ("l2", [8 / 255], False),
    ],
)
def test_only_linf_budgets_that_are_whole_levels(norm, budgets, yes):
    """One that is not makes decimals of them all; without a budget levels are the natural unit."""
    assert in_levels(norm, budgets) is yes


def test_a_level_says_what_a_fraction_does():
    """Whole levels exactly, others to three digits."""
    for k in (1, 8, 32, 255):
        assert Fraction(level(k / 255)) == Fraction(k, 255)
    assert (level(3.71 / 255), level(0.0)) == ("3.71/255", "0")


@pytest.mark.parametrize("last", [1, 2, 6, 7, 8, 16, 32, 100, 255])
def test_ticks_are_few_begin_at_0_and_reach_the_end(last):
    """At most seven, evenly apart, and the next one would lie beyond the end."""
    ticks = level_ticks(last / 255)
    assert ticks[0] == 0
    assert 2 <= len(ticks) <= 7
    step = ticks[1]
    assert ticks == list(range(0, ticks[-1] + 1, step))
    assert ticks[-1] <= last < ticks[-1] + step
