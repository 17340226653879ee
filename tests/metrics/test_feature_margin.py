"""Distances to the last layer's boundaries and the best margin there is, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from robbench.metrics.feature_margin import (
    boundary_distances,
    feature_margins,
    is_affine,
    pair_margins,
)
from robbench.models.heads import build_head


def test_distance_of_a_linear_head() -> None:
    """|w.h + b| / ||w|| of the difference of two rows, by hand: the nearer of two boundaries."""
    head = nn.Linear(2, 3)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 2.0]]))
        head.bias.copy_(torch.tensor([0.0, -5.0, -8.0]))
    h = torch.tensor([[0.0, 0.0], [1.0, 3.0], [0.0, 10.0]])
    distances = boundary_distances(head, h, torch.tensor([0, 0, 2]))
    # z = (0, -5, -8), (0, 10, -2), (0, 35, 12); lengths |w1| = 5, |w2| = 2, |w1 - w2| = sqrt(13)
    inf, root = torch.inf, 13**0.5
    expected = torch.tensor([[inf, 1.0, 4.0], [inf, -2.0, 1.0], [6.0, -23 / root, inf]])
    torch.testing.assert_close(distances, expected)
    torch.testing.assert_close(feature_margins(distances), torch.tensor([1.0, -2.0, -23 / root]))


@pytest.mark.parametrize(
    "spec",
    ["linear", "center", "gaussian", "max-mahalanobis:scale=3", "max-mahalanobis:width=6", "score"],
)
def test_a_step_of_that_length_ends_on_the_boundary(spec: str) -> None:
    """For every head of ours: moved by the distance, two logits tie; by less, they do not."""
    torch.manual_seed(0)
    classes = 2 if spec == "score" else 4
    head = build_head(spec, 5, classes).double()
    assert is_affine(head)
    h = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    y = torch.arange(6) % classes
    distances = boundary_distances(head, h, y)
    for k in range(classes):
        logits = head(h)
        gap = logits.gather(1, y[:, None])[:, 0] - logits[:, k]
        (slope,) = torch.autograd.grad(gap.sum(), h)
        others = y != k
        unit = slope / slope.norm(dim=1, keepdim=True)
        for share, close in ((1.0, True), (0.99, False)):
            there = head(
                h - share * distances[:, k : k + 1].nan_to_num(posinf=0) * unit.nan_to_num()
            )
            left = (there.gather(1, y[:, None])[:, 0] - there[:, k])[others]
            assert (left.abs() < 1e-9).all() == close


def test_another_head_is_first_order() -> None:
    """Squared features: the gradient at the point itself decides, here by hand."""

    class Squares(nn.Module):
        def forward(self, h: torch.Tensor) -> torch.Tensor:
            return torch.stack([h[:, 0] ** 2, h[:, 1]], 1)

    head = Squares()
    assert not is_affine(head)
    distances = boundary_distances(
        head, torch.tensor([[2.0, 1.0], [1.0, 5.0]]), torch.tensor([0, 0])
    )
    expected = torch.tensor([(4 - 1) / (4**2 + 1) ** 0.5, (1 - 5) / (2**2 + 1) ** 0.5])
    torch.testing.assert_close(distances[:, 1], expected)


def test_a_linear_layer_that_normalises_is_first_order() -> None:
    """Cosine similarity to two axes at (3, 4): (z_0 - z_1) / ||gradient||, by hand."""

    class Cosine(nn.Linear):
        def forward(self, h: torch.Tensor) -> torch.Tensor:
            return super().forward(h / h.norm(dim=1, keepdim=True))

    head = Cosine(2, 2, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.eye(2))
    assert not is_affine(head)
    distances = boundary_distances(head, torch.tensor([[3.0, 4.0]]), torch.tensor([0]))
    length = 1.4 / 5  # (1, -1) less its part along (3, 4) / 5 is 7/5 long; the radius is 5
    torch.testing.assert_close(distances[:, 1], torch.tensor([-0.2 / length]))


def test_classes_with_one_row_have_no_boundary() -> None:
    """Equal weights: the sign of the bias decides everywhere, and a tie is at distance 0."""
    head = nn.Linear(2, 3)
    with torch.no_grad():
        head.weight.fill_(1.0)
        head.bias.copy_(torch.tensor([1.0, 0.0, 1.0]))
    distances = boundary_distances(head, torch.zeros(2, 2), torch.tensor([0, 1]))
    assert distances.tolist() == [[torch.inf, torch.inf, 0.0], [-torch.inf, torch.inf, -torch.inf]]


def test_pair_margins_take_the_smallest_of_both_classes() -> None:
    """By hand; a pair without samples has none."""
    distances = np.array([[np.inf, 2.0, 9.0], [np.inf, 3.0, 1.0], [0.5, np.inf, 7.0]])
    found = pair_margins(distances, np.array([0, 0, 1]), [(0, 1), (0, 2), (1, 2), (2, 3)][:3])
    assert found.tolist() == [0.5, 1.0, 7.0]
    assert pair_margins(distances, np.array([2, 2, 2]), [(0, 1)]).tolist() == [np.inf]
