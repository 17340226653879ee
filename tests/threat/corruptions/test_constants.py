"""Which published numbers an image of some size gets."""

from __future__ import annotations

import pytest

from robbench.core.corruptions import CORRUPTIONS
from robbench.threat.corruptions.apply import FUNCTIONS
from robbench.threat.corruptions.constants import magnifications, strength


@pytest.mark.parametrize(
    ("size", "numbers", "scale"),
    [
        ((32, 32), (6, 1), 1),
        ((224, 224), (10, 3), 1),
        ((8, 8), (6, 1), 1),
        ((64, 90), (6, 1), 2),
        ((84, 84), (6, 1), 84 / 32),
        ((85, 85), (10, 3), 85 / 224),
        ((448, 500), (10, 3), 2),
    ],
)
def test_the_nearer_size_gives_the_numbers_and_the_smaller_side_the_lengths(size, numbers, scale):
    assert strength("motion_blur", 1, *size) == (numbers, scale)


def test_every_corruption_has_five_severities_of_each_set_and_a_function():
    assert list(FUNCTIONS) == list(CORRUPTIONS)
    for name in CORRUPTIONS:
        for side in (32, 224):
            found = [strength(name, severity, side, side).numbers for severity in range(1, 6)]
            assert len({len(numbers) for numbers in found}) == 1
            assert len(set(found)) == 5


def test_magnifications_end_where_the_released_code_does():
    """Its range of steps includes 1.06 by rounding, and not 1.31."""
    assert [round(zoom, 6) for zoom in magnifications(1.06, 0.01)] == [
        1.0,
        1.01,
        1.02,
        1.03,
        1.04,
        1.05,
        1.06,
    ]
    assert round(magnifications(1.31, 0.03)[-1], 6) == 1.3
