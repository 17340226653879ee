"""Fully connected networks: the linear one is logistic regression."""

from __future__ import annotations

from collections.abc import Callable

import torch
from sklearn.linear_model import LogisticRegression

from robbench.data.base import DataInfo
from robbench.models.create import create

MakeInfo = Callable[..., DataInfo]


def test_linear_classifier_is_logistic_regression(info: MakeInfo) -> None:
    """mlp:depth=0 with scikit-learn's weights gives its decision values on normalised pixels."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(60, 2, 3, 3, generator=generator), torch.arange(60) % 3
    model = create("mlp:depth=0", info((2, 3, 3), 3))
    pixels = (x.flatten(1) - 0.4) / 0.25
    reference = LogisticRegression().fit(pixels, y)
    with torch.no_grad():
        model.head.weight.copy_(torch.from_numpy(reference.coef_))
        model.head.bias.copy_(torch.from_numpy(reference.intercept_))
        expected = torch.from_numpy(reference.decision_function(pixels)).float()
        assert torch.allclose(model(x), expected, atol=1e-4)
