"""The inner maximisation of a recipe."""

from __future__ import annotations

import pytest
import torch

from robbench.attacks.pgd import PGD
from robbench.training.inner import Inner
from robbench.training.step import TrainStep


@pytest.mark.parametrize(
    ("progress", "eps"), [(0.0, 0.0), (0.125, 0.025), (0.25, 0.05), (0.5, 0.1), (1.0, 0.1)]
)
def test_the_budget_grows_in_the_warm_up(split, threat, plain_model, progress, eps):
    """With warmup=0.5 the adversaries of an attack with long steps lie at 2 progress eps, later at
    eps.
    """
    inner = Inner(PGD(steps=3, rate=1.0), threat, warmup=0.5)
    x, index = split.pixels(slice(None)), torch.arange(len(split))
    step = TrainStep(
        plain_model(),
        x,
        split.labels,
        index,
        key=split.ids,
        inner=inner,
        epoch=0,
        progress=progress,
    )
    assert step.eps == pytest.approx(eps)
    assert float((step.adversary().x - x).abs().max()) == pytest.approx(eps, abs=1e-6)
