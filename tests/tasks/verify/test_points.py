"""What is seen of stored points: a linear model, whose answers are known in closed form."""

import math

import pytest
import torch

from robbench.data.base import Split

from .line import IDS, LABELS, ROWS, Line, X, look, point, row


def test_points_that_hold():
    """Those of broken samples are on the other side, that of a robust one is not."""
    points = [point(0, 0.15, 0), point(1, 0.15, 0), point(2, 0.15, 0, adversarial=False)]
    seen = look(points)
    assert seen.correct.tolist() == [True, True, True, False]
    assert seen.broken.tolist() == [True, True, False, True]
    assert seen.stored.tolist() == seen.holds.tolist() == [True, True, True, False]
    assert seen.size.tolist() == pytest.approx([0.15, 0.15, math.inf, 0.0])
    assert not (seen.bad | seen.unsure | seen.correct_unsure).any()
    assert (seen.foreign, seen.targets) == (0, None)


@pytest.mark.parametrize(
    "delta",
    [(0.16, 0.0), (0.05, 0.0), (-0.15, 0.0), (math.nan, 0.0), (0.15, math.inf), (0.0, 0.15)],
    ids=["too far", "not over", "away", "nan", "inf", "along"],
)
def test_points_that_do_not_hold(delta):
    """Outside of the budget, or classified correctly: the sample is not known to be broken."""
    seen = look([point(0, *delta)])
    assert (bool(seen.bad[0]), bool(seen.broken[0])) == (True, False)


def test_a_point_outside_of_the_box():
    """An image has no pixel above 1, however near it is."""
    wide = Split(X + torch.tensor([0, 0.45]), LABELS, IDS, ("0", "1"), "line", "test")
    far = {"dist_l2": 1, "dist_l1": 1, "dist_l0": 2, "dist_l0px": 2}
    rows = [*(row(n, True, 0.15, **far) for n in (0, 1)), *ROWS[2:]]
    seen = look([point(0, 0.15, 0.1), point(1, 0.15, 0.05)], rows, split=wide)
    assert seen.bad.tolist() == [True, False, False, False]
    assert seen.broken.tolist() == [False, True, False, True]


def test_a_point_farther_than_its_row_says():
    """Inside the budget it breaks the sample all the same."""
    rows = [row(0, True, 0.11), *ROWS[1:]]
    seen = look([point(0, 0.15, 0)], rows)
    assert (bool(seen.bad[0]), bool(seen.broken[0])) == (True, True)


def test_a_point_that_breaks_a_sample_said_to_be_robust():
    """The row understates the attack: it is no rounding."""
    rows = [*ROWS[:2], row(2, False, 0.3), ROWS[3]]
    seen = look([point(2, 0.25, 0, adversarial=False)], rows, "linf:0.3")
    assert (bool(seen.bad[2]), bool(seen.broken[2])) == (True, True)


def test_fixed_entries_stay():
    """Whoever moves the age of a person has left the threat model."""
    free = torch.tensor([True, False])
    fixed = Split(X, LABELS, IDS, ("0", "1"), "line", "test", free=free)
    seen = look([point(0, 0.15, 0.01), point(1, 0.15, 0)], split=fixed)
    assert seen.bad.tolist() == [True, False, False, False]


@pytest.mark.parametrize(("over", "unsure"), [(-1e-6, True), (-1e-3, False)])
def test_rounding_at_the_boundary_is_told_apart(over, unsure):
    """The tolerance is 1e-4 of the logits' length, here of x - 0.5 itself: both logits shift."""

    class Shifted(Line):
        def forward(self, x):
            return super().forward(x) + 1

    seen = look([point(0, 0.1 + over, 0)], model=Shifted())
    assert (bool(seen.unsure[0]), bool(seen.bad[0])) == (unsure, not unsure)
    assert not seen.broken[0]  # it does not count


def test_a_model_that_answers_at_random_is_told_apart():
    """Asked again it says something else: that speaks neither for nor against the point."""
    seen = look([point(0, 0.05, 0)], model=Line(noise=1e-3))
    assert (bool(seen.unsure[0]), bool(seen.bad[0])) == (True, False)


def test_points_of_others():
    """Of another run, of a sample that is not there, and the second of one sample."""
    points = [
        point(0, 0.15, 0),
        point(0, 0.15, 0),
        point(9, 0.15, 0),
        point(1, 0, 0, run_id=""),
    ]
    seen = look(points)
    assert seen.foreign == 3
    assert seen.stored.tolist() == [True, False, False, False]


def test_points_of_another_shape():
    """They are of other data."""
    cut = point(1, 0.1, 0.1)
    cut["delta"] = cut["delta"][:-1]
    seen = look([point(0, 0.1, 0.1, 0.1), cut])
    assert (seen.foreign, int(seen.stored.sum())) == (2, 0)


def test_the_clean_input_is_asked_too():
    """A row that says otherwise is not believed."""
    rows = [row(n, True, 0.15, clean_correct=False) for n in range(4)]
    seen = look([], rows)
    assert seen.correct.tolist() == [True, True, True, False]
    assert seen.broken.tolist() == [False, False, False, True]
    assert not seen.correct_unsure.any()


def test_without_a_budget_the_size_is_measured():
    """In the norm of the run, wherever the point is."""
    rows = [row(0, True, 0.5), *ROWS[1:]]
    seen = look([point(0, 0.3, 0.4)], rows, "l2:inf")
    assert seen.size[0].item() == pytest.approx(0.5)
    assert seen.broken[0]


def test_many_points_are_looked_at_in_batches():
    """More than fit into one: each keeps its own verdict."""
    n = 700
    x = torch.full((n, 2), 0.45)
    many = Split(x, torch.zeros(n, dtype=torch.int64), torch.arange(n), ("0", "1"), "line", "test")
    rows = [row(1, True, 0.15, run_id="r", sample_id=i) for i in range(n)]
    odd = {3, 300, 650}
    points = [point(i - 10, 0.01 if i in odd else 0.1, 0) for i in range(n)]
    seen = look(points, rows, split=many)
    assert set(seen.bad.nonzero().flatten().tolist()) == odd
    assert int(seen.broken.sum()) == n - len(odd)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1", "l0", "l0px"])
def test_a_point_farther_in_any_norm_than_its_row_says(norm):
    """A size that is not the threat model's is a number of the run as well."""
    rows = [row(0, True, 0.15, **{f"dist_{norm}": 0.12 if norm[1] != "0" else 0}), *ROWS[1:]]
    assert look([point(0, 0.15, 0)], rows).bad[0]
