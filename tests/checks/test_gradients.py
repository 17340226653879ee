"""Checks of the gradient."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from robbench.checks import (
    gradients,
)
from robbench.checks.base import run_checks
from robbench.checks.broken_defences import DEFENCES
from robbench.checks.registry import CHECKS

_SLOPE = next(check for check in CHECKS if check.name == "finite-difference")


def grid(x: Tensor) -> Tensor:
    return (x * 20).round() / 20


def misled(x: Tensor) -> Tensor:
    return DEFENCES["misleading gradient"][0](x)


def infinite_slope(x: Tensor) -> Tensor:
    """The same values; the derivative is infinite times zero."""
    return x + 0 * (x - x.detach()).sqrt()


BAD = {  # check -> (function, what comes before the classifier, its scale)
    "no-gradient": (gradients.no_gradient, Tensor.detach, 1),
    "non-finite-gradient": (gradients.non_finite, infinite_slope, 1),
    "zero-gradient": (gradients.zero, grid, 1),
    "vanishing": (gradients.vanishing, None, 180),
    "finite-difference": (gradients.slope, misled, 1),
    "finite-difference of a constant": (gradients.slope, grid, 1),
}


@pytest.mark.parametrize("name", BAD)
def test_a_check_tells_a_spoilt_model_from_a_good_one(name: str, told_apart: Callable) -> None:
    """The same samples, labels and threat: only what is looked for differs."""
    good, bad = told_apart(*BAD[name])
    assert len(bad.evidence) > len(good.evidence)


@pytest.mark.parametrize("threat", ["linf:0.1", "l2:0.3"])
def test_a_linear_model_has_the_slope_that_it_says_where_entries_are_fixed(
    threat: str, made: Callable, evidence: Callable
) -> None:
    """Nothing moves along these, however much they weigh."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(20, 3))
    with torch.no_grad():
        model[1].weight[:, :6] *= 100
        images = torch.rand(60, 20)
        split = made(images, model(images).argmax(1), 3)
    split = dataclasses.replace(split, free=torch.arange(20) >= 6)
    found = run_checks([_SLOPE], evidence(model, split, threat))[0]
    assert (found.verdict, found.evidence) == ("pass", ())
