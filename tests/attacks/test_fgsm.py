"""FGSM against a plain transcription of the paper: one sample, float64, numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats

from robbench.attacks.fgsm import FGSM
from robbench.catalogue.builtins import ATTACKS
from robbench.core.errors import UserError
from robbench.engine.lockstep import lockstep
from robbench.threat.norms import NORMS
from robbench.threat.problem import Problem

from .plain_network import (
    ROWS,
    network_of,
    objective_of,
    plain_pgd,
    project,
    rows_of,
    steepest,
    trace,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_fgsm(norm: str, problem: Callable[..., Problem]) -> None:
    """FGSM starts at the clean input and makes one steepest step of length eps."""
    network = network_of(3)
    p = rows_of(network, problem, norm, 0.1, 3)
    points, _ = trace(FGSM(), network, p)
    for row in range(ROWS):
        x0 = p.x0[row].numpy()
        expected = plain_pgd(
            objective_of(network, "cross-entropy", p, row), x0, x0, float(p.eps[row]), norm, 1, 1.0
        )
        assert np.abs(points[:2, row] - np.stack(expected)).max() < 1e-12


@pytest.mark.parametrize(
    ("spec", "noise", "rate", "projected"),
    [
        ("fgsm-rs", 1.0, 1.25, True),
        ("n-fgsm", 2.0, 1.0, False),
        ("fgsm:noise=0.5,rate=0.3,clip=false", 0.5, 0.3, False),
    ],
)
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_single_steps_from_noise(
    norm: str,
    spec: str,
    noise: float,
    rate: float,
    projected: bool,
    problem: Callable[..., Problem],
) -> None:
    """FGSM-RS and N-FGSM as in Wong et al. and de Jorge et al.: noise, one step, one clip."""
    network = network_of(4)
    p = rows_of(network, problem, norm, 0.2, 4)
    points, _ = trace(ATTACKS.build(spec), network, p)
    outside = 0
    for row in range(ROWS):
        x0, eps, start = p.x0[row].numpy(), float(p.eps[row]), points[0, row]
        ascent = steepest(
            objective_of(network, "cross-entropy", p, row)(start)[1].astype(np.float64), norm
        )
        end = np.clip(start + rate * eps * ascent, 0, 1)
        if projected:
            end = project(start + rate * eps * ascent, x0, eps, norm)
        assert np.abs(points[1, row] - end).max() < 1e-12
        size = np.abs(end - x0).max() if norm == "linf" else np.linalg.norm(end - x0)
        outside += size > eps * (1 + 1e-9)
    assert outside == 0 if projected or noise + rate < 1 else outside > ROWS / 2


def _noise(count: int, width: int, spec: str = "n-fgsm") -> torch.Tensor:
    """[count,3,8,8] starts around a grey image at eps 0.1, asked for `width` rows at a time."""
    attack = ATTACKS.build(spec)
    x0, keys = torch.full((count, 3, 8, 8), 0.5), torch.arange(count) * 7919 + 5
    starts = []
    for i in range(0, count, width):
        rows = slice(i, i + width)
        y = torch.zeros(len(x0[rows]), dtype=torch.int64)
        p = Problem.of(x0[rows], y, 0.1, NORMS["linf"], key=keys[rows])
        starts.append(attack.start(p).x)
    return torch.cat(starts)


def test_the_noise_is_uniform_and_a_function_of_the_sample() -> None:
    """U(-2 eps, 2 eps) by the Kolmogorov-Smirnov test, bit-equal at any width; U(-eps, eps) in
    FGSM-RS.
    """
    wide = _noise(32, 32)
    assert torch.equal(wide, _noise(32, 1))
    assert torch.equal(wide, _noise(32, 5))
    for size, starts in ((0.2, wide), (0.1, _noise(32, 32, "fgsm-rs"))):
        d = (starts - 0.5).double().flatten().numpy()
        assert stats.kstest(d, stats.uniform(-size, 2 * size).cdf).pvalue > 0.01
    assert len({tuple(row.flatten().tolist()) for row in wide}) == 32


def test_the_box_is_never_left() -> None:
    """Neither by the noise nor by the step, from black and white images."""
    x = torch.cat([torch.zeros(4, 3, 8, 8), torch.ones(4, 3, 8, 8)])
    p = Problem.of(x, torch.zeros(8, dtype=torch.int64), 0.3, NORMS["linf"])
    weights = torch.randn(192, 3, generator=torch.Generator().manual_seed(0))
    attack = ATTACKS.build("n-fgsm")
    for points in (
        attack.start(p).x,
        lockstep(attack, lambda x: x.flatten(1) @ weights, p).x,
    ):
        assert bool(((points >= 0) & (points <= 1)).all())
        assert float((points - x).abs().max()) > 0.3


@pytest.mark.parametrize("wrapper", ["eot", "minimal"])
def test_what_leaves_the_budget_runs_in_no_other_attack(wrapper: str) -> None:
    """Their points would be judged by a budget that it does not keep."""
    with pytest.raises(UserError, match="leaves the budget"):
        ATTACKS.build(f"{wrapper}:attack=(n-fgsm)")
    ATTACKS.build(f"{wrapper}:attack=(fgsm-rs)")
