"""Rows of a linear model of six inputs, for tests of what attacks do before the first step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from robbench.threat.problem import Problem


def linear_model(classes: int) -> Callable[[Tensor], Tensor]:
    weight = torch.randn(classes, 6, generator=torch.Generator().manual_seed(classes))
    return lambda x: x @ weight.T


def linear_rows(
    problem: Callable[..., Problem],
    classes: int,
    rows: int = 20,
    eps: float = 0.05,
    norm: str = "linf",
) -> Problem:
    x0 = torch.rand(rows, 6, generator=torch.Generator().manual_seed(0))
    model = linear_model(classes)
    return problem(model, x0, model(x0).argmax(1), torch.full((rows,), eps), norm)
