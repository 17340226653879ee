"""Our extension of differential training to more classes, random pairs, and the thresholds: by
double loops and brute force.
"""

from __future__ import annotations

import pytest
import torch

from robbench.core.errors import UserError
from robbench.data.base import DataInfo
from robbench.losses.differential import Differential
from robbench.models.heads import ScoresHead, build_head
from robbench.testing import check_loss

LABELS = [0, 2, 1, 1, 0, 2, 2]


def points(seed=0):
    """Features [7,5], weights [3,5] of a linear head, and the labels."""
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(7, 5, generator=generator, dtype=torch.float64),
        torch.randn(3, 5, generator=generator, dtype=torch.float64),
        torch.tensor(LABELS),
    )


def test_every_pair_of_different_classes_counts(fake_step):
    """D_ij = (w_a - w_c) . (h_i - h_j), squared against the target, averaged over a sample's
    partners: by a double loop.
    """
    h, w, y = points()
    found = Differential(multiclass=True, target=1.5)(fake_step(h @ w.T, LABELS))
    for i in range(7):
        gaps = [(w[y[i]] - w[y[j]]) @ (h[i] - h[j]) for j in range(7) if y[j] != y[i]]
        assert float(found[i]) == pytest.approx(
            float(torch.stack([(d - 1.5) ** 2 for d in gaps]).mean()), abs=1e-12
        )


def test_a_bias_of_any_class_cancels(fake_step):
    """The loss is the same whatever is added to the logits of a class."""
    h, w, _ = points()
    here, there = (
        Differential(multiclass=True)(fake_step(h @ w.T + b, LABELS))
        for b in (0, torch.tensor([3.0, -1, 7]))
    )
    assert torch.allclose(here, there, atol=1e-12)


def test_random_pairs_are_one_partner_each(fake_step):
    """pairing=random gives every sample the loss of one of its pairs; which one, its key decides.

    On average it is their mean.
    """
    h, w, y = points()
    step, every = fake_step(h @ w.T, LABELS), Differential(multiclass=True)
    lone, partners = Differential(multiclass=True, pairing="random"), []
    for i in range(7):
        of_pairs = [
            every.of_gap((w[y[i]] - w[y[j]]) @ (h[i] - h[j])) for j in range(7) if y[j] != y[i]
        ]
        partners.append(torch.stack(of_pairs))
    draws = []
    for seed in range(300):
        step.key = torch.arange(7) + 1000 * seed
        draws.append(lone(step))
        assert torch.equal(draws[-1], lone(step))
        assert all(
            float((value - those).abs().min()) < 1e-12
            for value, those in zip(draws[-1], partners, strict=True)
        )
    spread = torch.stack([p.std(correction=0) for p in partners]) / 300**0.5
    assert ((torch.stack(draws).mean(0) - every(step)).abs() <= 4 * spread).all()


def test_the_head_learns_no_bias():
    """Its bias is a buffer that fit_head sets, so that the head classifies separable features
    right.
    """
    torch.manual_seed(0)
    head = build_head("scores", 5, 3)
    assert isinstance(head, ScoresHead)
    assert [name for name, _ in head.named_parameters()] == ["weight"]
    features = 4 * torch.eye(3, 5)[LABELS] + 0.1 * torch.randn(7, 5)
    with torch.no_grad():
        head.weight.copy_(
            torch.eye(3, 5) + torch.tensor([[0.0], [9], [-9]])
        )  # all scores lean to class 1
        Differential(multiclass=True).fit_head(head, features, torch.tensor(LABELS))
    assert head(features).argmax(1).tolist() == LABELS


def test_more_classes_only_when_asked():
    """Ten classes are refused with a way out, unless multiclass=true; one class always is."""
    ten, one = (
        DataInfo((1, 8, 8), tuple(str(k) for k in range(n)), (0.5,), (0.2,)) for n in (10, 1)
    )
    Differential(multiclass=True).check(ten)
    with pytest.raises(UserError, match="multiclass=true"):
        Differential().check(ten)
    with pytest.raises(UserError, match="has 1"):
        Differential(multiclass=True).check(one)


@pytest.mark.parametrize(
    "options", ["", ",form=logistic", ",form=squared-hinge", ",pairing=random", ",bias=extreme"]
)
def test_it_keeps_the_contract(options):
    """Repeatable, with a gradient that reaches the weights and a head that is fitted, for four
    classes and for two.
    """
    check_loss(f"differential:multiclass=true{options}", 4)
    check_loss(f"differential:multiclass=true{options}", 2)
