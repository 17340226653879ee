"""Thresholds from training scores: formulas, brute force, and the linear programme on a grid."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from robbench.losses.thresholds import biases, threshold

SCORES = st.floats(-4, 4, width=32)
LEVELS = st.integers(-3, 3)  # few values: ties are the hard case
SIDES = st.lists(LEVELS, min_size=1, max_size=6)


@given(SIDES, SIDES)
def test_extreme_and_mean_thresholds_are_their_formulas(high, low):
    """extreme: b = -(min s_i + max s_j) / 2; mean: b = -(mean s_i + mean s_j) / 2."""
    h, w = torch.tensor(high, dtype=torch.float64), torch.tensor(low, dtype=torch.float64)
    assert threshold(h, w, "extreme") == pytest.approx(-(min(high) + max(low)) / 2, abs=1e-12)
    assert threshold(h, w, "mean") == pytest.approx(-(np.mean(high) + np.mean(low)) / 2, abs=1e-9)


def right(high, low, bias):
    """How many scores the rule s + b > 0 puts into their class."""
    return sum(s + bias > 0 for s in high) + sum(s + bias <= 0 for s in low)


@given(SIDES, SIDES)
def test_accuracy_threshold_is_as_good_as_the_best_cut(high, low):
    """No cut between two different scores classifies more training scores right than the accuracy
    rule's.
    """
    levels = sorted({*high, *low})
    assume(len(levels) > 1)
    best = max(
        right(high, low, -(before + after) / 2) for before, after in itertools.pairwise(levels)
    )
    found = threshold(
        torch.tensor(high, dtype=torch.float64), torch.tensor(low, dtype=torch.float64), "accuracy"
    )
    assert right(high, low, found) >= best


@given(SIDES, SIDES)
def test_accuracy_threshold_is_the_best_of_all(high, low):
    """No threshold at all, one that gives every sample to one class included, beats the accuracy
    rule on training scores.
    """
    levels = sorted({*high, *low})
    cuts = [levels[0] - 1, *((a + b) / 2 for a, b in itertools.pairwise(levels)), levels[-1] + 1]
    found = threshold(
        torch.tensor(high, dtype=torch.float64), torch.tensor(low, dtype=torch.float64), "accuracy"
    )
    assert right(high, low, found) == max(right(high, low, -cut) for cut in cuts)


@given(
    st.lists(SCORES, min_size=1, max_size=6),
    st.lists(SCORES, min_size=1, max_size=6),
    st.floats(0.125, 4, width=32),
)
def test_accuracy_threshold_is_extreme_on_separable_scores(high, low, gap):
    """When all high scores lie above all low ones, best accuracy has one widest gap: the one of the
    extreme rule.
    """
    h, w = torch.tensor(high, dtype=torch.float64), torch.tensor(low, dtype=torch.float64)
    h = h - h.min() + w.max() + gap
    assert threshold(h, w, "accuracy") == pytest.approx(threshold(h, w, "extreme"), abs=1e-9)


def test_accuracy_threshold_takes_the_widest_of_equal_gaps():
    """Among cuts of equal accuracy the middle of the widest gap is taken."""
    high, low = (
        torch.tensor([1.0, 5.0]),
        torch.tensor([0.0, 2.0]),
    )  # cuts at 0.5 and 3.5 get 3 of 4 right
    assert threshold(high, low, "accuracy") == -3.5


@pytest.mark.parametrize("rule", ["accuracy", "extreme", "mean"])
def test_threshold_of_one_class_is_zero(rule):
    """Without a sample of one class the threshold is left at 0 and finite."""
    assert threshold(torch.tensor([3.0]), torch.tensor([]), rule) == 0
    assert threshold(torch.tensor([]), torch.tensor([3.0]), rule) == 0


LABELS = [0, 2, 1, 1, 0, 2, 2]


def points(seed=0):
    """Features [7,5], weights [3,5] of a linear head, and the labels."""
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(7, 5, generator=generator, dtype=torch.float64),
        torch.randn(3, 5, generator=generator, dtype=torch.float64),
        torch.tensor(LABELS),
    )


WHOLE = st.lists(st.integers(-8, 8), min_size=2, max_size=5)


@settings(deadline=None, max_examples=50)  # the first one imports scipy
@given(WHOLE, WHOLE)
def test_two_classes_are_the_formula(high, low):
    """For logits (0, s) the programme's b_1 - b_0 is the threshold of two classes, under each
    rule.
    """
    s = torch.tensor([*low, *high], dtype=torch.float64)
    scores, y = (
        torch.stack([torch.zeros_like(s), s], 1),
        torch.tensor([0] * len(low) + [1] * len(high)),
    )
    for rule in ("extreme", "quantile", "mean"):
        b = biases(scores, y, rule, 0.2)
        assert float(b[1] - b[0]) == pytest.approx(
            threshold(s[y == 1], s[y == 0], rule, 0.2), abs=1e-6
        )
        assert float(b.sum()) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_extreme_biases_leave_the_largest_smallest_margin(seed):
    """No biases of a fine grid give a larger smallest margin over the training samples."""
    h, w, y = points(seed)
    scores = h @ w.T

    def smallest(b):
        z = scores + b
        own = z.gather(1, y[:, None])[:, 0]
        return float((own - z.scatter(1, y[:, None], -torch.inf).amax(1)).min())

    grid = np.linspace(-6, 6, 61)
    best = max(smallest(torch.tensor([0.0, p, q])) for p, q in itertools.product(grid, grid))
    assert smallest(biases(scores, y, "extreme")) >= best - 1e-9


@pytest.mark.parametrize("seed", range(6))
def test_accuracy_biases_get_no_fewer_right_than_the_means(seed):
    """The accuracy rule starts at the mean rule and only gets better.

    Two classes of it are the best cut there is.
    """
    h, w, y = points(seed)
    scores = h @ w.T
    right = {
        rule: int(((scores + biases(scores, y, rule)).argmax(1) == y).sum())
        for rule in ("mean", "accuracy")
    }
    assert right["accuracy"] >= right["mean"]
    s, two = scores[:, 0], (y > 0).long()
    found = biases(torch.stack([torch.zeros_like(s), s], 1), two, "accuracy")
    cuts = [*(s - 1e-9).tolist(), *(s + 1e-9).tolist()]
    best = max(int(((s > cut) == (two == 1)).sum()) for cut in cuts)
    assert int(((s + found[1] - found[0] > 0) == (two == 1)).sum()) == best


@pytest.mark.parametrize("rule", ["extreme", "quantile", "mean", "accuracy"])
def test_samples_of_one_class_leave_the_biases_at_zero(rule):
    """Nothing to set apart: zeros, not NaN."""
    assert biases(
        torch.randn(4, 3, generator=torch.Generator().manual_seed(0)),
        torch.tensor([1, 1, 1, 1]),
        rule,
    ).tolist() == [
        0,
        0,
        0,
    ]


def test_quantiles_are_numpys():
    """The quantile rule puts the threshold between the 5 % quantile of one class and the 95 %
    quantile of the other.
    """
    high, low = torch.arange(20.0) + 7, torch.arange(30.0) / 3
    expected = -(np.quantile(high.numpy(), 0.05) + np.quantile(low.numpy(), 0.95)) / 2
    assert threshold(high, low, "quantile", 0.05) == pytest.approx(expected, abs=1e-5)
