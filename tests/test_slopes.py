"""Closed-form gradients of objectives against autograd."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from robbench.objectives import Objective, cross_entropy
from robbench.slopes import SLOPES, slope_of
from robbench.threat.norms import NORMS
from robbench.threat.problem import Problem

pytestmark = pytest.mark.usefixtures("one_thread")

KINDS = ("usual", "tied", "confident", "beaten", "far", "scaled", "ruled-out", "unanswered")


def _logits(kind: str, classes: int, dtype: torch.dtype) -> Tensor:
    """Rows of one kind, whose label is class row % classes."""
    z = 3 * torch.randn(64, classes, generator=torch.Generator().manual_seed(classes)).to(dtype)
    label = torch.arange(64) % classes
    if kind == "tied":
        return z.div(2).round()
    if kind in ("confident", "beaten"):
        z[torch.arange(64), label] += 60 if kind == "confident" else -60
    if kind == "far":
        z[::2] += 5000
    if kind == "ruled-out":
        z[torch.arange(64), (label + 1) % classes] = -torch.inf
    if kind == "unanswered":
        z[1::3, 2], z[2::3, 0] = torch.nan, torch.inf
    return z


def _problem(z: Tensor, kind: str) -> Problem:
    rows = torch.arange(len(z))
    y = rows % z.shape[1]
    p = Problem.of(torch.zeros(len(z), 1), y, 1.0, NORMS["linf"], logits0=z)
    temperature = 0.3 + rows % 3 if kind == "scaled" else None
    target = (y + 1 + rows % (z.shape[1] - 1)) % z.shape[1]
    return p.replace(target=target, temperature=temperature)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
@pytest.mark.parametrize("classes", [4, 10])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("objective", SLOPES)
def test_value_and_gradient_are_those_of_autograd_in_float64(
    objective: Objective, kind: str, classes: int, dtype: torch.dtype
) -> None:
    z = _logits(kind, classes, dtype)
    p = _problem(z, kind)
    leaf = p.tempered(z).double().requires_grad_()  # how that rounds is another test's matter
    cold = p.replace(temperature=None)
    scaled = objective is cross_entropy and kind == "scaled"
    expected = (
        objective(leaf, cold) if scaled else objective(leaf := z.double().requires_grad_(), p)
    )
    (gradient,) = torch.autograd.grad(expected.sum(), leaf)
    if scaled:
        gradient = gradient / p.temperature[:, None]
    slope = slope_of(objective, p, classes)
    assert slope is not None
    value, found = slope(z, p)
    assert value.dtype == found.dtype == dtype
    whole = torch.isfinite(z).all(1) if kind == "unanswered" else slice(None)
    for mine, theirs in ((value, expected.detach()), (found[whole], gradient[whole])):
        near = {"rtol": max(2 * torch.finfo(dtype).eps, 1e-11), "atol": torch.finfo(dtype).tiny}
        assert torch.allclose(mine, theirs.to(dtype), equal_nan=True, **near)


def test_what_the_closed_forms_do_not_cover_is_left_to_autograd() -> None:
    p = _problem(_logits("usual", 5, torch.float32), "usual")
    for objective in SLOPES:
        assert slope_of(objective, p, 3) is None
        assert slope_of(objective, p.replace(targeted=True), 5) is None
    assert slope_of(lambda logits, p: logits[:, 0], p, 5) is None


def test_gradients_do_not_depend_on_how_many_rows_there_are() -> None:
    """In any part of many: torch's sigmoid rounds the last elements of a tensor alone."""
    z = 3 * torch.randn(1000, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = torch.arange(1000) % 5

    def of(rows: Tensor) -> Tensor:
        x0 = torch.zeros(len(rows), 1, dtype=torch.float64)
        return SLOPES[cross_entropy](z[rows], Problem.of(x0, y[rows], 1.0, NORMS["linf"]))[1]

    whole = of(torch.arange(1000))
    for width in (1, 3, 7, 13):
        assert torch.equal(torch.cat([of(rows) for rows in torch.arange(1000).split(width)]), whole)
