"""Random points: inside, independent by row, spread as promised, as often wrong as the ball."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from robbench.attacks.base import Oracle
from robbench.attacks.noise import Noise
from robbench.testing import check_attack, judge, toy_model, toy_split
from robbench.threat.model import parse_threat
from robbench.threat.problem import Problem, size_and_fits

pytestmark = pytest.mark.usefixtures("one_thread")

DIMENSION = 6


class Asked(Oracle):
    """Keeps what it was asked; gives no gradient."""

    def __init__(self) -> None:
        self.points: list[Tensor] = []

    def logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.points.append(x)
        return torch.zeros(len(x), 2), torch.zeros(len(x), dtype=torch.bool)

    def grad(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("no gradient is needed")

    jacobian = grad


def drawn(p: Problem, kind: str, steps: int) -> Tensor:
    """[steps + 1, B, D]: every point that a run of each row asks about."""
    attack, q = Noise(steps=steps, kind=kind), Asked()  # type: ignore[arg-type]
    s = attack.start(p)
    for t in range(steps + 1):
        assert torch.equal(attack.point(s), s.x)
        s = attack.step(s, torch.full_like(p.y, t), p, q)
    return torch.stack(q.points)


def rows(
    problem: Callable[..., Problem], norm: str, eps: float, middle: float = 0.5, n: int = 20
) -> Problem:
    x0 = torch.full((n, DIMENSION), middle, dtype=torch.float64)
    return problem(
        lambda x: x[:, :2],
        x0,
        torch.zeros(n, dtype=torch.int64),
        torch.full((n,), eps).double(),
        norm,
    )


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("kind", ["uniform", "surface"])
def test_all_points_differ_and_are_inside(
    norm: str, kind: str, problem: Callable[..., Problem]
) -> None:
    """Also where the box cuts the ball; no point comes twice, in a row's run or in another row."""
    for eps, middle in ((0.2, 0.5), (0.3, 0.1), (40.0, 0.5)):
        p = rows(problem, norm, eps, middle)
        points = drawn(p, kind, 30)
        assert all(bool(size_and_fits(x, p)[1].all()) for x in points)
        if eps < 1:  # else many are corners of the box
            assert len(points.flatten(0, 1).unique(dim=0)) == 31 * 20


@pytest.mark.parametrize(
    ("norm", "mean"), [("linf", DIMENSION / (DIMENSION + 1))] * 2 + [("l2", None), ("l1", None)]
)
def test_sizes_have_the_distribution_of_a_uniform_point(
    norm: str, mean: float | None, problem: Callable[..., Problem]
) -> None:
    """In D dimensions (size / eps)^D is uniform on [0,1] in any ball; on the surface it is 1."""
    p = rows(problem, norm, 0.3, n=40)
    sizes = torch.stack([p.norm.size(x - p.x0) for x in drawn(p, "uniform", 49)]).flatten() / 0.3
    shares, _ = (sizes**DIMENSION).sort()
    n = len(shares)
    steps = torch.arange(1, n + 1) / n
    assert float((shares - steps).abs().max()) < 1.95 / math.sqrt(n)  # Kolmogorov and Smirnov, 0.1%
    if mean:
        assert float(sizes.mean()) == pytest.approx(mean, abs=0.01)
    for x in drawn(p, "surface", 5):
        assert torch.allclose(p.norm.size(x - p.x0), p.eps)


def test_a_half_space_is_found_as_soon_as_its_share_says(
    problem: Callable[..., Problem], conquer: Callable[..., Any]
) -> None:
    """If a share a of the cube is wrong, n + 1 points survive with probability (1 - a)^(n+1)."""
    share, n = 0.1, 400
    x0 = torch.full((n, DIMENSION), 0.5)

    def model(x: Tensor) -> Tensor:
        return torch.stack([0.5 + 0.2 * (1 - 2 * share) - x[:, 0], torch.zeros(len(x))], 1)

    p = problem(model, x0, torch.zeros(n, dtype=torch.int64), torch.full((n,), 0.2), "linf")
    endings = conquer(Noise(steps=9), model, p, 64)
    survived = sum(ending.variant is None for ending in endings)
    expected = (1 - share) ** 10
    assert abs(survived - n * expected) < 4 * math.sqrt(n * expected * (1 - expected))
    steps = [ending.step for ending in endings if ending.variant is not None]
    assert {min(steps), max(steps)} == {0, 9}
    assert abs(steps.count(0) - n * share) < 4 * math.sqrt(n * share * (1 - share))


def test_it_needs_no_gradient_and_pgd_finds_no_less() -> None:
    """Toy model: no backward, at most steps + 1 forwards, and PGD breaks all that it breaks."""
    model, split, threat = toy_model(), toy_split(), parse_threat("linf:0.15")[0]
    noise = judge("noise:steps=30", model, split, threat)
    pgd = judge("pgd:steps=20", model, split, threat)
    assert all(v.n_backward == 0 for v in noise)
    assert {v.n_forward for v in noise if not v.adversarial} == {
        1 + 31 + 1
    }  # the clean pass, the points, the re-check
    assert any(v.adversarial and v.step > 0 for v in noise)
    assert all(
        strong.adversarial for weak, strong in zip(noise, pgd, strict=True) if weak.adversarial
    )
    assert sum(v.adversarial for v in noise) < sum(v.adversarial for v in pgd)


def test_options_conform() -> None:
    """The contract for the other kind."""
    check_attack("noise:steps=4,kind=surface")
