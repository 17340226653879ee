"""A small tanh network whose gradients are written out by hand, and plain loops over it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robbench.attacks.base import Answer, Oracle
from robbench.objectives import Objective
from robbench.threat.problem import Problem

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


def network_of(seed: int, scale: float = 3) -> Network:
    draw = np.random.default_rng(seed)
    return Network(
        scale * draw.normal(size=(HIDDEN, DIMENSION)),
        draw.normal(size=(CLASSES, HIDDEN)),
        draw.normal(size=CLASSES),
    )


def climb(name: str, z: Vector, y: int, target: int, clean: Vector) -> tuple[float, Vector]:
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


def project(x: Vector, x0: Vector, eps: float, norm: str) -> Vector:
    if norm == "linf":
        return np.clip(np.clip(x, x0 - eps, x0 + eps), 0, 1)
    length = np.sqrt(((x - x0) ** 2).sum())
    return np.clip(x0 + (x - x0) * (eps / length if length > eps else 1), 0, 1)


def steepest(g: Vector, norm: str) -> Vector:
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
        xs.append(project(xs[-1] + rate * eps * steepest(f(xs[-1])[1], norm), x0, eps, norm))
    return xs


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


def trace(attack: Any, network: Network, p: Problem) -> tuple[NDArray[np.float64], list[Any]]:
    """[steps + 2, B, D]: every point our attack stood at, and its states."""
    s, t, q = attack.start(p), torch.zeros_like(p.y), PlainOracle(network, p)
    points, states = [attack.point(s)], [s]
    for _ in range(attack.steps + 1):
        s = attack.step(s, t, p, q)
        t = t + 1
        points.append(attack.point(s))
        states.append(s)
    return torch.stack(points).detach().numpy(), states


def rows_of(
    network: Network, problem: Callable[..., Problem], norm: str, eps: float, seed: int
) -> Problem:
    draw = torch.Generator().manual_seed(seed)
    x0 = 0.15 + 0.7 * torch.rand(ROWS, DIMENSION, generator=draw, dtype=torch.float64)
    eps_rows = eps * torch.linspace(0.5, 1.5, ROWS, dtype=torch.float64)
    p = problem(network.torch, x0, torch.arange(ROWS) % CLASSES, eps_rows, norm, seed)
    return p.replace(target=(p.y + 1 + torch.arange(ROWS) % 3) % CLASSES)


def objective_of(
    network: Network, name: str, p: Problem, row: int
) -> Callable[[Vector], tuple[float, Vector]]:
    def f(x: Vector) -> tuple[float, Vector]:
        value, dz = climb(
            name, network.logits(x), int(p.y[row]), int(p.target[row]), p.logits0[row].numpy()
        )
        return value, network.pull(x, dz)

    return f
