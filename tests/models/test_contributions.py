"""Contributions against finite differences, and the fewest features against a slow loop."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from robbench.models.contributions import contributions, kept
from robbench.models.heads import ScoreHead
from tests.dropped_features import curved_head, slow_kept


def chosen_by(row, rho):
    (mask,) = kept(torch.tensor([row], dtype=torch.float64), rho)
    return set(mask.nonzero()[:, 0].tolist())


ROWS = st.lists(
    st.integers(-6, 6), min_size=1, max_size=8
)  # whole numbers: ties, zeros and exact sums

SHARES = st.sampled_from([1 / 16, 0.25, 0.5, 0.75, 0.875, 1.0])


@given(ROWS, SHARES)
def test_guided_dropout_keeps_what_it_says(row, rho):
    """What is kept is what the slow loop keeps."""
    assert chosen_by(row, rho) == slow_kept(row, rho)


@given(st.lists(st.integers(-4, 6), min_size=1, max_size=6), SHARES)
def test_no_smaller_set_would_do(row, rho):
    """Of all sets of features whose positive parts reach rho of the total, none is smaller than the
    kept one, which does.
    """
    total = sum(max(c, 0) for c in row)
    chosen = chosen_by(row, rho)
    assert sum(max(row[i], 0) for i in chosen) >= rho * total
    if total > 0:
        smaller = itertools.combinations(range(len(row)), len(chosen) - 1)
        assert all(sum(max(row[i], 0) for i in some) < rho * total for some in smaller)
        assert min(row[i] for i in chosen) > 0


@given(st.lists(ROWS.filter(lambda row: len(row) == 4), min_size=1, max_size=4), SHARES)
def test_rows_are_masked_apart(rows, rho):
    """A batch is masked as its rows are alone."""
    together = kept(torch.tensor(rows, dtype=torch.float32), rho)
    assert together.tolist() == [
        kept(torch.tensor([row], dtype=torch.float32), rho)[0].tolist() for row in rows
    ]


@pytest.mark.parametrize("row", [[0, 0, 0], [-1, -2, 0], [-3, -1, -2]])
@pytest.mark.parametrize("rho", [0.1, 0.9, 1.0])
def test_without_a_positive_contribution_everything_is_kept(row, rho):
    """There is nothing to be guided by."""
    assert chosen_by(row, rho) == {0, 1, 2}


@pytest.mark.parametrize(
    "make", [lambda: nn.Linear(5, 4).double(), curved_head], ids=["linear", "curved"]
)
@pytest.mark.parametrize("by", ["label", "predicted"])
def test_contributions_are_activation_times_slope(make, by):
    """h_i times the finite difference of the class's logit in h_i, for a linear and for a curved
    head; h W for the linear.
    """
    head = make()
    h = torch.randn(6, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    found = contributions(head, h, labels if by == "label" else None)
    with torch.no_grad():
        classes = labels if by == "label" else head(h).argmax(1)
        assert not torch.equal(head(h).argmax(1), labels)  # or the two would be the same thing
        for n, i in itertools.product(range(6), range(5)):
            up, down = h[n].clone(), h[n].clone()
            up[i], down[i] = h[n, i] + 1e-5, h[n, i] - 1e-5
            slope = (head(up)[classes[n]] - head(down)[classes[n]]) / 2e-5
            assert found[n, i].item() == pytest.approx((h[n, i] * slope).item(), abs=1e-8)
        if isinstance(head, nn.Linear):
            assert torch.allclose(found, h * head.weight[classes])
    assert not found.requires_grad
    assert all(weight.grad is None for weight in head.parameters())


def test_it_works_with_the_one_score_head():
    """Contributions to class 1 are the scores' parts, those to class 0 their opposite."""
    head = ScoreHead(5)
    h = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))
    found = contributions(head, h.expand(2, 5), torch.tensor([1, 0]))
    signs = torch.tensor([[0.5], [-0.5]])
    assert torch.allclose(found, signs * h * head.weight.detach(), atol=1e-6)
