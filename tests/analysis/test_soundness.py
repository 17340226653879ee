"""Certificates held against mistakes: what rounding of float32 explains, and what it does not."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from robbench.analysis.soundness import (
    ROUNDING,
    Bound,
    Point,
    bound_of,
    conflicts,
    contradiction,
    merged,
    points_of,
)
from robbench.store.run import Run
from robbench.store.store import Store

TINY = 1e-4  # what rounding may change, of logits up to 10


@pytest.mark.parametrize(
    ("bound", "point", "explained"),
    [
        # A margin that is certified to be 0.5 cannot be 0 by rounding, at whatever size.
        (Bound(0.1, 0.5), Point(0.1, -1e-6, TINY), False),
        (Bound(0.1, 0.5), Point(0.02, -1e-6, TINY), False),
        (Bound(0.1, 1e-6), Point(0.1, -0.3, TINY), False),
        (Bound(0.1, 1e-6), Point(0.1, -1e-6, TINY), True),
        (Bound(0.1, 1e-6), Point(0.02, -1e-6, TINY), True),
        (Bound(0.1, 6e-5), Point(0.1, -5e-5, TINY), False),
        (Bound(0.1, 1e-6), Point(0.1, None, TINY), False),
        (Bound(0.1, 1e-6), Point(0.1, math.nan, TINY), False),
        # Only the sign is certified: rounding explains a mistake at the very end alone.
        (Bound(0.1), Point(0.1, -1e-6, TINY), True),
        (Bound(0.1), Point(0.0999999, -1e-6, TINY), True),
        (Bound(0.1), Point(0.1, -0.3, TINY), False),
        (Bound(0.1), Point(0.09, -1e-6, TINY), False),
        (Bound(0.1), Point(0.0, -0.3, TINY), False),
        # Outside of what is certified nothing is contradicted.
        (Bound(0.1, 0.5), Point(0.1001, -0.3, TINY), None),
        (Bound(0.1, 0.5), Point(math.inf, -0.3, TINY), None),
        (Bound(0.1, 0.5), None, None),
        # One budget, written in two ways.
        (Bound(0.0313725, 0.5), Point(8 / 255, -0.3, TINY), False),
    ],
)
def test_rounding_explains_a_contradiction_only_where_both_margins_are_near(
    bound: Bound, point: Point | None, explained: bool | None
) -> None:
    expected = {} if explained is None else {7: explained}
    assert conflicts({7: [bound]}, {7: point, 8: Point(0.0, -1.0, TINY)}) == expected


def test_each_bound_and_each_run_has_to_be_explained() -> None:
    near, far = Point(0.1, -1e-6, TINY), Point(0.1, -1.0, TINY)
    low, high = Bound(0.1, 1e-6), Bound(0.1, 1.0)
    assert conflicts({7: [low, high]}, {7: near}) == {7: False}
    runs = [conflicts({7: [low], 8: [low]}, {7: point, 8: near}) for point in (near, far)]
    assert merged(runs) == merged(reversed(runs)) == {7: False, 8: True}


def test_what_a_row_of_the_table_proves() -> None:
    right = {"predicted": 3, "label": 3, "margin_low": 0.5, "radius": None, "certified": True}
    assert bound_of(right | {"eps": 0.1}) == Bound(0.1, 0.5)
    assert bound_of(right | {"eps": 0.1, "certified": False}) is None
    endless = right | {"eps": math.inf, "certified": False, "margin_low": None}
    assert bound_of(endless | {"radius": 0.02}) == Bound(0.02)
    for nothing in ({"radius": 0.0}, {"radius": None}, {"radius": 0.02, "predicted": 4}):
        assert bound_of(endless | nothing) is None


def test_the_points_of_a_run(run: Callable[..., Run], tmp_path: Path) -> None:
    """A size is at most the budget; rounding grows with the largest logit that is known."""
    answers = json.dumps({"samples": [[1.0, -40.0]], "made": [[2.0, 3.0]], "spread": 0.0})
    for text, largest in ((answers, 40.0), (None, 2.0), ("{}", 2.0)):
        made = run(
            "linf:0.1", [0.1000001, None, 0, 0.05], margins=[1.0, 2.0, -0.5, 1.0], answers=text
        )
        found = points_of(Store(tmp_path).run_path(made.info["run_id"]), made.info)
        first, robust, wrong, near = found.values()
        assert robust is None
        assert (first, wrong, near) == tuple(
            Point(size, margin, pytest.approx(ROUNDING * largest))
            for size, margin in zip(
                (0.1, 0.0, pytest.approx(0.05)),
                (row for row, hit in _margins(made) if hit),
                strict=True,
            )
        )


def _margins(made: Run) -> list[tuple[Any, Any]]:
    rows = made.samples.to_pylist()
    return [(row["adv_margin"], row["adversarial"]) for row in rows]


def test_a_contradiction_says_what_is_wrong() -> None:
    """Not that rounding explains it."""
    assert "of 1 sample (0000000000000007), which rounding in float32 does not" in contradiction(
        [7]
    )
    four = contradiction([7, 8, 9, 10])
    assert "of 4 samples (0000000000000007, " in four
    assert "and 1 more)" in four
    assert "the certificate or the attack is wrong" in four
