"""Margins and classes of rows, beside the answers of a linear model."""

import math

import numpy as np
import pytest

from .line import ROWS, Line, look, point, row


def test_margins_and_classes_as_the_rows_say():
    """At the clean inputs, at the stored points, and where the clean input is the worst one."""
    rows = [*ROWS[:2], row(2, False, 0.15), row(3, True, 0.0)]
    seen = look([point(0, 0.15, 0), point(1, 0.15, 0)], rows)
    assert seen.clean.known.all()
    assert seen.worst.known.tolist() == [True, True, False, True]
    assert seen.clean.margin.tolist() == pytest.approx([0.2, 0.1, 0.4, -0.4])
    assert seen.worst.margin[[0, 1, 3]].tolist() == pytest.approx([-0.1, -0.2, -0.4])
    assert not (seen.clean.off | seen.clean.unsure | seen.worst.off | seen.worst.unsure).any()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("margin", 2.0),
        ("margin", -2.0),
        ("margin", math.nan),
        ("margin", math.inf),
        ("pred", 0),
        ("pred", 1),
        ("pred", 2),
        ("pred", -1),
    ],
)
@pytest.mark.parametrize("which", ["clean", "adv"])
def test_margins_and_classes_that_the_rows_have_wrong(which, column, value):
    """Of the one sample whose row says so; a class is right as it stands."""
    rows = [row(0, True, 0.15) | {f"{which}_{column}": value}, *ROWS[1:]]
    seen = look([point(0, 0.15, 0), point(1, 0.15, 0)], rows)
    right = column == "pred" and value == (which == "adv")
    clean, worst = ([not right and which == name, False, False, False] for name in ("clean", "adv"))
    assert (seen.clean.off.tolist(), seen.worst.off.tolist()) == (clean, worst)


@pytest.mark.parametrize(("off", "wrong"), [(0.002, False), (0.004, True)])
def test_half_precision_has_a_margin_of_its_own(off, wrong):
    """1 % of |clean margin| + |worst margin|, here of 0.3, and no more than rounding in full."""
    rows = [row(0, True, 0.15, adv_margin=-0.1 + off), *ROWS[1:]]
    short = np.array((0.15, 0), "<f2").tobytes()
    half = point(0) | {"encoding": "f2", "delta": short}
    assert bool(look([half], rows).worst.off[0]) == wrong
    assert look([point(0, 0.15, 0)], rows).worst.off[0]


def test_a_worst_margin_that_no_row_tells():
    """Of an attack that does not show what it tries: there is nothing to confirm."""
    rows = [*ROWS[:2], row(2, False, 0.0, adv_margin=None), ROWS[3]]
    assert look([], rows).worst.known.tolist() == [False, False, True, True]


def test_margins_of_a_model_that_answers_at_random():
    """They speak neither for nor against the rows."""
    seen = look([point(0, 0.15, 0)], model=Line(noise=1e-2))
    assert seen.clean.unsure.any()
    assert not (seen.clean.off | seen.worst.off).any()
