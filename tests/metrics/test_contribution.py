"""How few features carry a logit, by hand."""

from __future__ import annotations

import torch
from torch import nn

from robbench.metrics.contribution import contribution_curve, features_needed


def head(*rows: list[float]) -> nn.Linear:
    """A linear head without bias."""
    layer = nn.Linear(len(rows[0]), len(rows), bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(rows))
    return layer


def test_the_fewest_features_for_nine_tenths() -> None:
    """Contributions 6, 3, 1, -5: two features are 90 % of the positive 10; equal ones all count."""
    layer = head([6.0, 3.0, 1.0, -5.0], [2.0, 2.0, 2.0, 0.0])
    h = torch.ones(1, 4)
    assert features_needed(layer, h, torch.tensor([0])).tolist() == [2]
    assert features_needed(layer, h, torch.tensor([1])).tolist() == [3]
    assert features_needed(layer, h, None).tolist() == [3]  # the logits are 5 and 6
    assert features_needed(layer, h, torch.tensor([0]), share=0.91).tolist() == [3]


def test_no_feature_speaks_for_the_class() -> None:
    """None is needed, and there is no curve."""
    layer, h = head([-1.0, -2.0], [0.0, 0.0]), torch.ones(1, 2)
    assert features_needed(layer, h, torch.tensor([0])).tolist() == [0]
    assert contribution_curve(layer, h, torch.tensor([0])).isnan().all()


def test_the_curve_is_the_cumulative_share() -> None:
    """0.6, 0.9, 1, 1 for the contributions above, whatever the features' order."""
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        layer = head([[6.0, 3.0, 1.0, -5.0][i] for i in order], [0.0] * 4)
        curve = contribution_curve(layer, torch.ones(1, 4), torch.tensor([0]))
        torch.testing.assert_close(curve, torch.tensor([[0.6, 0.9, 1.0, 1.0]]))
