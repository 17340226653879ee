"""Checks of the budget eps."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from robbench.checks import (
    budget,
)

BAD = {  # check -> (function, what comes before the classifier, its scale)
    "zero-eps": (budget.zero_eps, lambda x: x + 0.05 * torch.randn_like(x), 1),
    "huge-eps": (budget.huge_eps, Tensor.detach, 1),
}


@pytest.mark.parametrize("name", BAD)
def test_a_check_tells_a_spoilt_model_from_a_good_one(name: str, told_apart: Callable) -> None:
    """The same samples, labels and threat: only what is looked for differs."""
    good, bad = told_apart(*BAD[name])
    assert len(bad.evidence) > len(good.evidence)


def test_a_sample_lost_at_a_larger_budget_is_noticed(
    linear: type[nn.Module], evidence: Callable, split
) -> None:
    """A narrow valley: short steps land in it, those of larger budgets jump over it."""

    class Valley(linear):
        def forward(self, x: Tensor) -> Tensor:
            depth = (
                self.score(x) - 0.25
            ).abs() - 0.03  # steps at half of 0.05: 0.0625 of the score
            return torch.stack([depth, torch.zeros_like(depth)], 1)

    model = Valley()
    near = (model.score(split.images) > 0.3) & (model.score(split.images) < 0.7)
    of = split.take(near.nonzero()[:, 0])
    of = type(of)(
        of.images, torch.zeros_like(of.labels), of.ids, of.classes, of.name, of.split, of.scale
    )
    assert budget.monotone_eps(evidence(linear())).failed is False
    reading = budget.monotone_eps(evidence(model, of))
    assert reading.failed is True
    assert reading.figure > 0.3
