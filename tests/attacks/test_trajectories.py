"""Whole trajectories against plain transcriptions: one sample, float64, numpy, all history.

The network is a small tanh one whose gradients are written out by hand, so that nothing is shared
but the start.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from robbench.attacks.apgd import APGD, checkpoints
from robbench.attacks.base import Answer, Oracle
from robbench.attacks.fgsm import FGSM
from robbench.attacks.pgd import PGD
from robbench.objectives import Objective
from robbench.threat.problem import Problem

pytestmark = pytest.mark.usefixtures("one_thread")

Vector = NDArray[np.float64]
DIMENSION, HIDDEN, CLASSES, ROWS = 10, 8, 5, 6


class Network(NamedTuple):
    """z = V tanh(U (x - 1/2)) + c, with its derivatives."""

    u: Vector
    v: Vector
    c: Vector

    def logits(self, x: Vector) -> Vector:
        return self.v @ np.tanh(self.u @ (x - 0.5)) + self.c

    def pull(self, x: Vector, dz: Vector) -> Vector:
        """The gradient in x of dz . z."""
        return self.u.T @ ((1 - np.tanh(self.u @ (x - 0.5)) ** 2) * (self.v.T @ dz))

    def torch(self, x: Tensor) -> Tensor:
        """The same network for a batch."""
        u, v, c = (torch.from_numpy(part) for part in self)
        return torch.tanh((x - 0.5) @ u.T) @ v.T + c


def _network(seed: int) -> Network:
    draw = np.random.default_rng(seed)
    return Network(
        3 * draw.normal(size=(HIDDEN, DIMENSION)),
        draw.normal(size=(CLASSES, HIDDEN)),
        draw.normal(size=CLASSES),
    )


def _climb(name: str, z: Vector, y: int, target: int, clean: Vector) -> tuple[float, Vector]:
    """An objective's value and its derivative in z, written out."""
    unit = np.eye(len(z))
    order = np.argsort(-z)
    other = order[0] if order[0] != y else order[1]
    if name == "cross-entropy":
        p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
        return float(math.log(np.exp(z - z.max()).sum()) + z.max() - z[y]), p - unit[y]
    if name == "kl-from-clean":
        p, q = (np.exp(a - a.max()) / np.exp(a - a.max()).sum() for a in (z, clean))
        return float((q * (np.log(q) - np.log(p))).sum()), p - q
    if name == "margin":
        return float(z[other] - z[y]), unit[other] - unit[y]
    if name == "dlr":
        numerator, dn = z[other] - z[y], unit[other] - unit[y]
        denominator, dd = z[order[0]] - z[order[2]] + 1e-12, unit[order[0]] - unit[order[2]]
    else:
        numerator, dn = z[target] - z[y], unit[target] - unit[y]
        denominator = z[order[0]] - (z[order[2]] + z[order[3]]) / 2 + 1e-12
        dd = unit[order[0]] - (unit[order[2]] + unit[order[3]]) / 2
    return float(numerator / denominator), dn / denominator - numerator / denominator**2 * dd


def _project(x: Vector, x0: Vector, eps: float, norm: str) -> Vector:
    if norm == "linf":
        return np.clip(np.clip(x, x0 - eps, x0 + eps), 0, 1)
    length = np.sqrt(((x - x0) ** 2).sum())
    return np.clip(x0 + (x - x0) * (eps / length if length > eps else 1), 0, 1)


def _steepest(g: Vector, norm: str) -> Vector:
    return np.sign(g) if norm == "linf" else g / np.sqrt((g**2).sum())


def plain_pgd(
    f: Callable[[Vector], tuple[float, Vector]],
    start: Vector,
    x0: Vector,
    eps: float,
    norm: str,
    steps: int,
    rate: float,
) -> list[Vector]:
    """Madry et al. 2018, eq. 4: all iterates."""
    xs = [start]
    for _ in range(steps):
        xs.append(_project(xs[-1] + rate * eps * _steepest(f(xs[-1])[1], norm), x0, eps, norm))
    return xs


def plain_checkpoints(steps: int) -> list[int]:
    """w_j = ceil(p_j N): p_0 = 0, p_1 = 0.22, p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06)."""
    p = [Fraction(0), Fraction(22, 100)]
    while p[-1] <= 1:
        p.append(p[-1] + max(p[-1] - p[-2] - Fraction(3, 100), Fraction(6, 100)))
    return sorted({math.ceil(share * steps) for share in p[1:-1]})


class Run(NamedTuple):
    """Iterates, step lengths, why each checkpoint halved, and the first tie by rounding."""

    xs: list[Vector]
    etas: list[float]
    why: list[str]
    unclear: int


def plain_apgd(
    f: Callable[[Vector], tuple[float, Vector]],
    start: Vector,
    x0: Vector,
    eps: float,
    norm: str,
    steps: int,
) -> Run:
    """Croce and Hein 2020, algorithm 1, keeping everything.

    A checkpoint k is decided on x_k just queried, before the move to x_{k+1}, which then leaves
    from x_max.
    """
    rho, alpha, eta = 0.75, 0.75, 2 * eps
    marks = plain_checkpoints(steps)
    xs, values, grads, stood, etas, why = [start], [], [], [], [], []
    before, halved_before, unclear = 0, False, steps + 1
    for k in range(steps + 1):
        value, grad = f(xs[k])
        values.append(value)
        grads.append(grad)
        here, g = xs[k], grad
        if k in marks:
            moves = np.diff(values[before:])
            condition_1 = (moves > 0).sum() < rho * (k - before)
            if condition_1 != ((moves > 1e-12).sum() < rho * (k - before)):
                unclear = min(unclear, k)
            condition_2 = not halved_before and max(values) == max(values[: max(before, 1) + 1])
            why.append(
                "both"
                if condition_1 and condition_2
                else "1"
                if condition_1
                else "2"
                if condition_2
                else "-"
            )
            before, halved_before = k, condition_1 or condition_2
            if halved_before:
                eta /= 2
                best = int(np.argmax(values))
                here, g = xs[best], grads[best]
                rivals = [i for i in range(k + 1) if values[best] - values[i] < 1e-12]
                if max(np.abs(xs[i] - here).max() for i in rivals) > 1e-11:
                    unclear = min(unclear, k)
        etas.append(eta)
        z = _project(here + eta * _steepest(g, norm), x0, eps, norm)
        xs.append(
            z
            if k == 0
            else _project(
                here + alpha * (z - here) + (1 - alpha) * (here - stood[-1]), x0, eps, norm
            )
        )
        stood.append(here)
    return Run(xs, etas, why, unclear)


class PlainOracle(Oracle):
    """Answers and does nothing else."""

    def __init__(self, network: Network, p: Problem) -> None:
        self.network, self.p = network, p

    def logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.network.torch(x)
        return logits, logits.argmax(1) != self.p.y

    def grad(self, x: Tensor, objective: Objective, need: Tensor | None = None) -> Answer:
        x = x.detach().requires_grad_()
        logits = self.network.torch(x)
        value = objective(logits, self.p)
        (grad,) = torch.autograd.grad(value.sum(), x)
        return Answer(logits.detach(), value.detach(), grad, logits.argmax(1) != self.p.y)

    def jacobian(
        self, x: Tensor, classes: Tensor, need: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        raise NotImplementedError


def _trace(attack: Any, network: Network, p: Problem) -> tuple[NDArray[np.float64], list[Any]]:
    """[steps + 2, B, D]: every point our attack stood at, and its states."""
    s, t, q = attack.start(p), torch.zeros_like(p.y), PlainOracle(network, p)
    points, states = [attack.point(s)], [s]
    for _ in range(attack.steps + 1):
        s = attack.step(s, t, p, q)
        t = t + 1
        points.append(attack.point(s))
        states.append(s)
    return torch.stack(points).detach().numpy(), states


def _rows(
    network: Network, problem: Callable[..., Problem], norm: str, eps: float, seed: int
) -> Problem:
    draw = torch.Generator().manual_seed(seed)
    x0 = 0.15 + 0.7 * torch.rand(ROWS, DIMENSION, generator=draw, dtype=torch.float64)
    eps_rows = eps * torch.linspace(0.5, 1.5, ROWS, dtype=torch.float64)
    p = problem(network.torch, x0, torch.arange(ROWS) % CLASSES, eps_rows, norm, seed)
    return p.replace(target=(p.y + 1 + torch.arange(ROWS) % 3) % CLASSES)


def _objective(
    network: Network, name: str, p: Problem, row: int
) -> Callable[[Vector], tuple[float, Vector]]:
    def f(x: Vector) -> tuple[float, Vector]:
        value, dz = _climb(
            name, network.logits(x), int(p.y[row]), int(p.target[row]), p.logits0[row].numpy()
        )
        return value, network.pull(x, dz)

    return f


@pytest.mark.parametrize("objective", ["cross-entropy", "margin", "dlr", "kl-from-clean"])
@pytest.mark.parametrize("init", ["uniform", "gaussian"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_pgd(norm: str, init: str, objective: str, problem: Callable[..., Problem]) -> None:
    """Every iterate of PGD equals the plain loop's to 1e-10, with a budget per row."""
    network = _network(1)
    p = _rows(network, problem, norm, {"linf": 0.1, "l2": 0.4}[norm], 1)
    attack = PGD(steps=37, rate=0.07, init=init, objective=objective)
    points, _ = _trace(attack, network, p)
    for row in range(ROWS):
        x0, eps = p.x0[row].numpy(), float(p.eps[row])
        expected = plain_pgd(
            _objective(network, objective, p, row), points[0, row], x0, eps, norm, 37, 0.07
        )
        assert np.abs(points[:38, row] - np.stack(expected)).max() < 1e-10


def test_pgds_usual_rate(problem: Callable[..., Problem]) -> None:
    """Without a rate the step is 2.5 eps / steps."""
    network = _network(2)
    p = _rows(network, problem, "linf", 0.05, 2)
    a, b = (_trace(PGD(steps=10, rate=rate), network, p)[0] for rate in (None, 0.25))
    assert np.array_equal(a, b)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_fgsm(norm: str, problem: Callable[..., Problem]) -> None:
    """FGSM starts at the clean input and makes one steepest step of length eps."""
    network = _network(3)
    p = _rows(network, problem, norm, 0.1, 3)
    points, _ = _trace(FGSM(), network, p)
    for row in range(ROWS):
        x0 = p.x0[row].numpy()
        expected = plain_pgd(
            _objective(network, "cross-entropy", p, row), x0, x0, float(p.eps[row]), norm, 1, 1.0
        )
        assert np.abs(points[:2, row] - np.stack(expected)).max() < 1e-12


def _well_posed(runs: list[list[Vector]]) -> int:
    """Up to which step some runs agree to 1e-11."""
    apart = np.abs(np.array(runs[1:]) - np.array(runs[0])).max(axis=(0, 2))
    return int((apart > 1e-11).argmax()) if (apart > 1e-11).any() else len(apart)


@pytest.mark.parametrize("seed", [2, 3])
@pytest.mark.parametrize("objective", ["cross-entropy", "margin", "dlr", "dlr-targeted"])
@pytest.mark.parametrize("steps", [4, 10, 37, 100])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_apgd(
    norm: str, steps: int, objective: str, seed: int, problem: Callable[..., Problem]
) -> None:
    """Every iterate and step length of APGD equals algorithm 1's to 1e-10, row by row.

    In l2 a run that has converged decides between values that are equal to the last bit, so its
    best point is known to the root of the rounding error only: there the comparison ends. It ends
    too where the oracle, run again from starts moved by 1e-15, does not agree with itself. Both
    must be the end of a few runs only. In linf nothing is left out.
    """
    network = _network(seed)
    p = _rows(network, problem, norm, {"linf": 0.15, "l2": 0.5}[norm], seed)
    points, states = _trace(APGD(steps=steps, objective=objective), network, p)
    draw, compared = np.random.default_rng(0), 0
    for row in range(ROWS):
        f, x0, eps = _objective(network, objective, p, row), p.x0[row].numpy(), float(p.eps[row])
        start = points[0, row]
        expected, etas, why, unclear = plain_apgd(f, start, x0, eps, norm, steps)
        moved = [
            plain_apgd(f, start + draw.uniform(-1e-15, 1e-15, DIMENSION), x0, eps, norm, steps).xs
            for _ in range(3)
        ]
        until = (
            steps + 1
            if norm == "linf"
            else min(steps, unclear, _well_posed([expected, *moved]) - 1) + 1
        )
        apart = np.abs(points[:until, row] - np.stack(expected[:until])).max(axis=1)
        assert apart.max() < 1e-10, (row, until, int((apart > 1e-10).argmax()), why)
        ours = [
            float(state.eta[row]) for state in states[1:until]
        ]  # the step decided at k shows in the point k + 1
        assert ours == pytest.approx(etas[: until - 1], rel=1e-12), (row, why)
        compared += until
    assert compared >= 0.5 * ROWS * (steps + 1)


def test_the_oracle_sees_every_kind_of_checkpoint(problem: Callable[..., Problem]) -> None:
    """The runs above cover all cases: they halve for condition 1, 2, both, and not at all."""
    for norm, eps in (("linf", 0.15), ("l2", 0.5)):
        seen = set()
        for seed in (2, 3):
            network = _network(seed)
            p = _rows(network, problem, norm, eps, seed)
            start = APGD().start(p).x.numpy()
            for row in range(ROWS):
                f = _objective(network, "dlr", p, row)
                seen.update(
                    plain_apgd(f, start[row], p.x0[row].numpy(), float(p.eps[row]), norm, 37).why
                )
        assert seen == {"-", "1", "2", "both"}


def test_apgd_starts_on_the_surface(problem: Callable[..., Problem]) -> None:
    """The start lies at distance eps, where the box allows, and the first step is 2 eps long."""
    network = _network(1)
    for norm in ("linf", "l2"):
        p = _rows(network, problem, norm, 0.05, 5)
        s = APGD().start(p)
        size = torch.linalg.vector_norm(s.x - p.x0, ord={"linf": math.inf, "l2": 2}[norm], dim=1)
        assert torch.allclose(size, p.eps)
        assert torch.equal(s.eta, 2 * p.eps)


def test_checkpoints() -> None:
    """The paper's checkpoints for 100 steps, and exact fractions for other numbers."""
    assert checkpoints(100) == (22, 41, 57, 70, 80, 87, 93, 99)
    for steps in range(1, 301):
        assert list(checkpoints(steps)) == plain_checkpoints(steps)
