"""Checks of the gradient."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import Tensor

from robbench.checks import (
    gradients,
)
from robbench.checks.broken_defences import DEFENCES


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
