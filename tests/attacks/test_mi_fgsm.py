"""MI-FGSM against a plain transcription, torchattacks' code, and what its momentum is for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from robbench.attacks.mi_fgsm import MIFGSM
from robbench.catalogue.builtins import ATTACKS
from robbench.engine.lockstep import lockstep
from robbench.testing import check_attack
from robbench.threat.problem import Problem

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPE, CLASSES, ROWS = (2, 4, 3), 4, 6
U = torch.randn(9, 24, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 2
V = torch.randn(CLASSES, 9, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def model(x: Tensor) -> Tensor:
    """A tanh network, whose gradients turn from step to step."""
    return torch.tanh((x.flatten(1) - 0.5) @ U.to(x).T) @ V.to(x).T


@pytest.fixture
def rows(problem: Callable[..., Problem]) -> Callable[..., Problem]:
    """Six images, some pixels at the ends of the box."""

    def make(norm: str, eps: float, dtype: torch.dtype = torch.float64) -> Problem:
        x0 = (
            1.2
            * torch.rand(
                ROWS, *SHAPE, generator=torch.Generator().manual_seed(3), dtype=torch.float64
            )
            - 0.1
        ).clamp(0, 1)
        x0 = x0.to(dtype)
        return problem(model, x0, model(x0).argmax(1), torch.full((ROWS,), eps, dtype=dtype), norm)

    return make


def plain(
    x0: Any, y: int, eps: float, norm: str, steps: int, decay: float, rate: float
) -> list[Any]:
    """Dong et al. 2018, algorithm 1, one flat image, gradient by hand; all iterates."""
    u, v = U.numpy(), V.numpy()
    x, g, xs = x0, np.zeros_like(x0), [x0]
    for _ in range(steps):
        hidden = np.tanh(u @ (x - 0.5))
        z = v @ hidden
        dz = np.exp(z - z.max()) / np.exp(z - z.max()).sum() - np.eye(CLASSES)[y]
        grad = u.T @ ((1 - hidden**2) * (v.T @ dz))
        g = decay * g + grad / np.abs(grad).sum()
        x = x + rate * eps * (np.sign(g) if norm == "linf" else g / np.sqrt((g**2).sum()))
        d = x - x0
        d = np.clip(d, -eps, eps) if norm == "linf" else d * min(1, eps / np.sqrt((d**2).sum()))
        x = np.clip(x0 + d, 0, 1)
        xs.append(x)
    return xs


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(("decay", "rate"), [(1.0, None), (0.9, 0.25), (0.0, None), (2.0, 1.0)])
def test_trajectories_are_the_plain_ones(
    norm: str, decay: float, rate: float | None, rows: Callable[..., Problem]
) -> None:
    """Every iterate, also with steps so long that points have to be projected."""
    steps = 12
    p = rows(norm, {"linf": 0.15, "l2": 0.8}[norm])
    expected = [
        plain(
            p.x0[i].flatten().numpy(),
            int(p.y[i]),
            float(p.eps[i]),
            norm,
            steps,
            decay,
            rate or 1 / steps,
        )
        for i in range(ROWS)
    ]
    for t in range(1, steps + 1):
        found = (
            lockstep(MIFGSM(steps=t, decay=decay, rate=rate or 1 / steps), model, p)
            .x.flatten(1)
            .numpy()
        )
        assert np.abs(found - np.stack([xs[t] for xs in expected])).max() < 1e-10
    whole = lockstep(MIFGSM(steps=steps, decay=decay, rate=rate), model, p).x.flatten(1).numpy()
    assert np.abs(whole - np.stack([xs[steps] for xs in expected])).max() < 1e-10


@pytest.mark.parametrize(
    ("steps", "decay", "share"), [(10, 1.0, 0.1), (7, 0.8, 0.4), (1, 1.0, 1.0)]
)
def test_points_are_those_of_torchattacks(
    steps: int, decay: float, share: float, rows: Callable[..., Problem]
) -> None:
    """Equal moves end at the same point; theirs divides by the mean, which no sign can tell."""
    torchattacks = pytest.importorskip("torchattacks")
    p = rows("linf", 0.12, torch.float32)
    net = torch.nn.Module()
    net.forward = model  # type: ignore[method-assign]
    peer = torchattacks.MIFGSM(net.eval(), eps=0.12, alpha=share * 0.12, steps=steps, decay=decay)
    theirs = peer(p.x0, p.y)
    ours = lockstep(MIFGSM(steps=steps, decay=decay, rate=share), model, p).x
    assert float((ours - p.x0).abs().max()) > 0.11
    assert float((ours - theirs).abs().max()) < 1e-6


def test_momentum_goes_on_where_the_gradient_flips(problem: Callable[..., Problem]) -> None:
    """In a narrow valley plain steps swing across; momentum averages the swing out."""

    def valley(x: Tensor) -> Tensor:
        rise = 0.02 * x[:, 0] - (x[:, 1] - 0.51).abs()
        return torch.stack([torch.zeros(len(x)), rise], 1)

    x0 = torch.tensor([[0.5, 0.5]])
    p = problem(valley, x0, torch.zeros(1, dtype=torch.int64), torch.full((1,), 0.3), "l2")
    still = lockstep(MIFGSM(steps=20, decay=0), valley, p).x[0, 0]
    moving = lockstep(MIFGSM(steps=20, decay=1.0), valley, p).x[0, 0]
    assert float(moving - 0.5) > 2 * float(still - 0.5) > 0


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_weak_or_lost_gradients(norm: str, rows: Callable[..., Problem]) -> None:
    """A tiny gradient counts as any other; a zero one moves nothing and leaves no NaN."""
    p = rows(norm, 0.2)

    def weak(x: Tensor) -> Tensor:
        return 1e-30 * model(x)

    strong = ATTACKS.build("mi-fgsm:objective=margin")
    assert torch.allclose(lockstep(strong, weak, p).x, lockstep(strong, model, p).x, atol=1e-9)
    dead = lockstep(strong, lambda x: 0 * model(x), p).x
    assert torch.equal(dead, p.x0)


def test_options_conform() -> None:
    """The contract for other options than the catalogue's test has."""
    check_attack("mi-fgsm:steps=3,decay=0,rate=1/2,objective=dlr")
