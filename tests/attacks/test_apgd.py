"""APGD, with its targets, against a plain transcription of algorithm 1: one sample, float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import pytest
import torch

from robbench.attacks.apgd import APGD, checkpoints
from robbench.threat.problem import Problem

from .linear_rows import linear_rows
from .plain_network import (
    DIMENSION,
    ROWS,
    Vector,
    network_of,
    objective_of,
    project,
    rows_of,
    steepest,
    trace,
)

pytestmark = pytest.mark.usefixtures("one_thread")


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
        z = project(here + eta * steepest(g, norm), x0, eps, norm)
        xs.append(
            z
            if k == 0
            else project(
                here + alpha * (z - here) + (1 - alpha) * (here - stood[-1]), x0, eps, norm
            )
        )
        stood.append(here)
    return Run(xs, etas, why, unclear)


def _well_posed(runs: list[list[Vector]]) -> int:
    """Up to which step some runs agree to 1e-11."""
    apart = np.abs(np.array(runs[1:]) - np.array(runs[0])).max(axis=(0, 2))
    return int((apart > 1e-11).argmax()) if (apart > 1e-11).any() else len(apart)


@pytest.mark.few(14)
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
    network = network_of(seed)
    p = rows_of(network, problem, norm, {"linf": 0.15, "l2": 0.5}[norm], seed)
    points, states = trace(APGD(steps=steps, objective=objective), network, p)
    draw, compared = np.random.default_rng(0), 0
    for row in range(ROWS):
        f, x0, eps = objective_of(network, objective, p, row), p.x0[row].numpy(), float(p.eps[row])
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
            network = network_of(seed)
            p = rows_of(network, problem, norm, eps, seed)
            start = APGD().start(p).x.numpy()
            for row in range(ROWS):
                f = objective_of(network, "dlr", p, row)
                seen.update(
                    plain_apgd(f, start[row], p.x0[row].numpy(), float(p.eps[row]), norm, 37).why
                )
        assert seen == {"-", "1", "2", "both"}


def test_apgd_starts_on_the_surface(problem: Callable[..., Problem]) -> None:
    """The start lies at distance eps, where the box allows, and the first step is 2 eps long."""
    network = network_of(1)
    for norm in ("linf", "l2"):
        p = rows_of(network, problem, norm, 0.05, 5)
        s = APGD().start(p)
        size = torch.linalg.vector_norm(s.x - p.x0, ord={"linf": math.inf, "l2": 2}[norm], dim=1)
        assert torch.allclose(size, p.eps)
        assert torch.equal(s.eta, 2 * p.eps)


def test_checkpoints() -> None:
    """The paper's checkpoints for 100 steps, and exact fractions for other numbers."""
    assert checkpoints(100) == (22, 41, 57, 70, 80, 87, 93, 99)
    for steps in range(1, 301):
        assert list(checkpoints(steps)) == plain_checkpoints(steps)


@pytest.mark.parametrize(
    ("classes", "asked", "count"),
    [(2, 9, 1), (4, 9, 3), (10, 9, 9), (10, 3, 3), (12, 9, 9), (12, 20, 11)],
)
def test_targets_are_the_likeliest_wrong_classes_in_order(
    classes: int, asked: int, count: int, problem: Callable[..., Problem]
) -> None:
    """Variant k aims at the k-th likeliest wrong class at the clean input, at most K-1."""
    attack = APGD(objective="dlr-targeted", targets=asked)
    assert attack.variants(classes) == count
    p = linear_rows(problem, classes)
    for row in range(len(p)):
        ranked = sorted(range(classes), key=lambda k: -float(p.logits0[row, k]))
        ranked.remove(int(p.y[row]))
        found = [int(attack.vary(p, torch.full_like(p.y, k)).target[row]) for k in range(count)]
        assert found == ranked[:count]


def test_targets_of_samples_that_are_wrong_already(problem: Callable[..., Problem]) -> None:
    """The label is left out by name, not by rank: also where it is not the likeliest class."""
    p = linear_rows(problem, 4)
    p = p.replace(y=p.logits0.argsort(1)[:, 1])
    attack = APGD(objective="dlr-targeted")
    targets = torch.stack([attack.vary(p, torch.full_like(p.y, k)).target for k in range(3)], 1)
    assert torch.equal(
        torch.cat([targets, p.y[:, None]], 1).sort(1).values, torch.arange(4).expand(len(p), 4)
    )


def test_restarts_of_targets_come_after_all_targets(problem: Callable[..., Problem]) -> None:
    """With restarts every target is tried once before any again, from another start."""
    attack, p = APGD(objective="dlr-targeted", restarts=2), linear_rows(problem, 4)
    assert attack.variants(4) == 6
    varied = [attack.vary(p, torch.full_like(p.y, k)) for k in range(6)]
    for k in range(3):
        assert torch.equal(varied[k].target, varied[k + 3].target)
        starts = [attack.start(varied[n]).x for n in (k, k + 3)]
        assert bool((starts[0] != starts[1]).flatten(1).any(1).all())
