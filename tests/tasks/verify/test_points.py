"""What is seen of stored points: a linear model, whose answers are known in closed form."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from robbench.core.errors import UserError
from robbench.data.base import Split
from robbench.tasks.verify.points import look_again
from robbench.threat.model import parse_threat

# Class 1 where the first feature is above 0.5; the margin of label 0 is 1 - 2 x.
X = torch.tensor([[0.40, 0.5], [0.45, 0.5], [0.30, 0.5], [0.70, 0.5]])
LABELS = torch.zeros(4, dtype=torch.int64)  # the last is wrong without an attack
IDS = torch.tensor([10, 11, 12, 13])


class Line(nn.Module):
    """Logits (0.5 - x, x - 0.5) of the first feature x, and noise where it is random."""

    def __init__(self, noise=0.0):
        super().__init__()
        self.noise = noise
        self.interface = None

    def forward(self, x):
        z = x[:, 0] - 0.5 + self.noise * torch.randn(len(x))
        return torch.stack([-z, z], 1)


@pytest.fixture
def split():
    """Four samples of two features."""
    return Split(X, LABELS, IDS, ("0", "1"), "line", "test")


def _row(n, adversarial, size, **more):
    row = {"run_id": "r", "sample_id": 10 + n, "adversarial": adversarial, "clean_correct": n < 3}
    x = float(X[n, 0])
    clean = {"clean_pred": int(n == 3), "clean_margin": 1 - 2 * x}
    worst = {"adv_pred": int(adversarial), "adv_margin": 1 - 2 * (x + size)}
    sizes = {"dist_linf": size, "dist_l2": size, "dist_l1": size, "dist_l0": 1, "dist_l0px": 1}
    return row | clean | worst | sizes | more


ROWS = [_row(0, True, 0.15), _row(1, True, 0.15), _row(2, False, 0.15), _row(3, True, 0.0)]


def _point(n, *delta, adversarial=True, run_id="r"):
    bytes_ = np.array(delta, "<f4").tobytes()
    own = {"run_id": run_id, "sample_id": 10 + n, "adversarial": adversarial}
    return own | {"encoding": "f4", "delta": bytes_}


def _look(split, points, rows=ROWS, threat="linf:0.15", model=None):
    return look_again(
        model or Line(), split, parse_threat(threat)[0], rows, points, lambda share, text: None
    )


def test_points_that_hold(split):
    """Those of broken samples are on the other side, that of a robust one is not."""
    points = [_point(0, 0.15, 0), _point(1, 0.15, 0), _point(2, 0.15, 0, adversarial=False)]
    seen = _look(split, points)
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
def test_points_that_do_not_hold(split, delta):
    """Outside of the budget, or classified correctly: the sample is not known to be broken."""
    seen = _look(split, [_point(0, *delta)])
    assert (bool(seen.bad[0]), bool(seen.broken[0])) == (True, False)


def test_a_point_outside_of_the_box(split):
    """An image has no pixel above 1, however near it is."""
    wide = Split(X + torch.tensor([0, 0.45]), LABELS, IDS, ("0", "1"), "line", "test")
    far = {"dist_l2": 1, "dist_l1": 1, "dist_l0": 2, "dist_l0px": 2}
    rows = [*(_row(n, True, 0.15, **far) for n in (0, 1)), *ROWS[2:]]
    seen = _look(wide, [_point(0, 0.15, 0.1), _point(1, 0.15, 0.05)], rows)
    assert seen.bad.tolist() == [True, False, False, False]
    assert seen.broken.tolist() == [False, True, False, True]


def test_a_point_farther_than_its_row_says(split):
    """Inside the budget it breaks the sample all the same."""
    rows = [_row(0, True, 0.11), *ROWS[1:]]
    seen = _look(split, [_point(0, 0.15, 0)], rows)
    assert (bool(seen.bad[0]), bool(seen.broken[0])) == (True, True)


def test_a_point_that_breaks_a_sample_said_to_be_robust(split):
    """The row understates the attack: it is no rounding."""
    rows = [*ROWS[:2], _row(2, False, 0.3), ROWS[3]]
    seen = _look(split, [_point(2, 0.25, 0, adversarial=False)], rows, "linf:0.3")
    assert (bool(seen.bad[2]), bool(seen.broken[2])) == (True, True)


def test_fixed_entries_stay(split):
    """Whoever moves the age of a person has left the threat model."""
    free = torch.tensor([True, False])
    fixed = Split(X, LABELS, IDS, ("0", "1"), "line", "test", free=free)
    seen = _look(fixed, [_point(0, 0.15, 0.01), _point(1, 0.15, 0)])
    assert seen.bad.tolist() == [True, False, False, False]


@pytest.mark.parametrize(("over", "unsure"), [(-1e-6, True), (-1e-3, False)])
def test_rounding_at_the_boundary_is_told_apart(split, over, unsure):
    """The tolerance is 1e-4 of the logits' length, here of x - 0.5 itself: both logits shift."""

    class Shifted(Line):
        def forward(self, x):
            return super().forward(x) + 1

    seen = _look(split, [_point(0, 0.1 + over, 0)], model=Shifted())
    assert (bool(seen.unsure[0]), bool(seen.bad[0])) == (unsure, not unsure)
    assert not seen.broken[0]  # it does not count


def test_a_model_that_answers_at_random_is_told_apart(split):
    """Asked again it says something else: that speaks neither for nor against the point."""
    seen = _look(split, [_point(0, 0.05, 0)], model=Line(noise=1e-3))
    assert (bool(seen.unsure[0]), bool(seen.bad[0])) == (True, False)


def test_points_of_others(split):
    """Of another run, of a sample that is not there, and the second of one sample."""
    points = [
        _point(0, 0.15, 0),
        _point(0, 0.15, 0),
        _point(9, 0.15, 0),
        _point(1, 0, 0, run_id=""),
    ]
    seen = _look(split, points)
    assert seen.foreign == 3
    assert seen.stored.tolist() == [True, False, False, False]


def test_points_of_another_shape(split):
    """They are of other data."""
    with pytest.raises(UserError, match="points of 3 pixels"):
        _look(split, [_point(0, 0.1, 0.1, 0.1)])
    cut = _point(0, 0.1, 0.1)
    cut["delta"] = cut["delta"][:-1]
    with pytest.raises(UserError, match=r"points of 1\.75 pixels"):
        _look(split, [cut])


def test_the_clean_input_is_asked_too(split):
    """A row that says otherwise is not believed."""
    rows = [_row(n, True, 0.15, clean_correct=False) for n in range(4)]
    seen = _look(split, [], rows)
    assert seen.correct.tolist() == [True, True, True, False]
    assert seen.broken.tolist() == [False, False, False, True]
    assert not seen.correct_unsure.any()


def test_without_a_budget_the_size_is_measured(split):
    """In the norm of the run, wherever the point is."""
    rows = [_row(0, True, 0.5), *ROWS[1:]]
    seen = _look(split, [_point(0, 0.3, 0.4)], rows, "l2:inf")
    assert seen.size[0].item() == pytest.approx(0.5)
    assert seen.broken[0]


def test_many_points_are_looked_at_in_batches(split):
    """More than fit into one: each keeps its own verdict."""
    n = 700
    x = torch.full((n, 2), 0.45)
    many = Split(x, torch.zeros(n, dtype=torch.int64), torch.arange(n), ("0", "1"), "line", "test")
    rows = [_row(1, True, 0.15, run_id="r", sample_id=i) for i in range(n)]
    odd = {3, 300, 650}
    points = [_point(i - 10, 0.01 if i in odd else 0.1, 0) for i in range(n)]
    seen = _look(many, points, rows)
    assert set(seen.bad.nonzero().flatten().tolist()) == odd
    assert int(seen.broken.sum()) == n - len(odd)


def test_margins_and_classes_as_the_rows_say(split):
    """At the clean inputs, at the stored points, and where the clean input is the worst one."""
    rows = [*ROWS[:2], _row(2, False, 0.15), _row(3, True, 0.0)]
    seen = _look(split, [_point(0, 0.15, 0), _point(1, 0.15, 0)], rows)
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
def test_margins_and_classes_that_the_rows_have_wrong(split, which, column, value):
    """Of the one sample whose row says so; a class is right as it stands."""
    rows = [_row(0, True, 0.15) | {f"{which}_{column}": value}, *ROWS[1:]]
    seen = _look(split, [_point(0, 0.15, 0), _point(1, 0.15, 0)], rows)
    right = column == "pred" and value == (which == "adv")
    clean, worst = ([not right and which == name, False, False, False] for name in ("clean", "adv"))
    assert (seen.clean.off.tolist(), seen.worst.off.tolist()) == (clean, worst)


@pytest.mark.parametrize(("off", "wrong"), [(0.002, False), (0.004, True)])
def test_half_precision_has_a_margin_of_its_own(split, off, wrong):
    """1 % of |clean margin| + |worst margin|, here of 0.3, and no more than rounding in full."""
    rows = [_row(0, True, 0.15, adv_margin=-0.1 + off), *ROWS[1:]]
    short = np.array((0.15, 0), "<f2").tobytes()
    half = _point(0) | {"encoding": "f2", "delta": short}
    assert bool(_look(split, [half], rows).worst.off[0]) == wrong
    assert _look(split, [_point(0, 0.15, 0)], rows).worst.off[0]


def test_a_worst_margin_that_no_row_tells(split):
    """Of an attack that does not show what it tries: there is nothing to confirm."""
    rows = [*ROWS[:2], _row(2, False, 0.0, adv_margin=None), ROWS[3]]
    assert _look(split, [], rows).worst.known.tolist() == [False, False, True, True]


def test_margins_of_a_model_that_answers_at_random(split):
    """They speak neither for nor against the rows."""
    seen = _look(split, [_point(0, 0.15, 0)], model=Line(noise=1e-2))
    assert seen.clean.unsure.any()
    assert not (seen.clean.off | seen.worst.off).any()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1", "l0", "l0px"])
def test_a_point_farther_in_any_norm_than_its_row_says(split, norm):
    """A size that is not the threat model's is a number of the run as well."""
    rows = [_row(0, True, 0.15, **{f"dist_{norm}": 0.12 if norm[1] != "0" else 0}), *ROWS[1:]]
    assert _look(split, [_point(0, 0.15, 0)], rows).bad[0]
