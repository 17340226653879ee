"""sigma-zero against a transcription of algorithm 1 of arXiv:2402.01879: one sample, numpy."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robbench.attacks.sigma_zero import SigmaZero
from robbench.core.tiles import Tiles
from robbench.engine.oracle import ModelOracle, blank_book
from robbench.threat.norms import NORMS

pytestmark = pytest.mark.usefixtures("one_thread")

Vector = NDArray[np.float64]
_draw = np.random.default_rng(8)
SHAPE = (2, 3, 2)  # two colours, six pixels
U, V, C = 2 * _draw.normal(size=(9, 12)), _draw.normal(size=(4, 9)), _draw.normal(size=4)
X0 = np.clip(_draw.uniform(-0.6, 1.6, size=(5, 12)), 0, 1)  # about half the entries on a face


def _model(x: Tensor) -> Tensor:
    hidden = torch.tanh((x.flatten(1) - 0.5) @ torch.from_numpy(U).T)
    return hidden @ torch.from_numpy(V).T + torch.from_numpy(C)


def plain_sigma_zero(
    x0: Vector, aim: int, a: SigmaZero, pixels: bool, targeted: bool, lead: int | None = None
) -> Any:
    """Every point that is looked at, which of them are successes, and the thresholds.

    lead: a class to climb towards, where any mistake is a success.
    """
    d, m, v, tau = np.zeros(12), np.zeros(12), np.zeros(12), a.tau
    eta, points, hits, taus = a.rate, [], [], []
    for i in range(a.steps + 1):
        x = x0 + d
        z = V @ np.tanh(U @ (x - 0.5)) + C
        other = max((k for k in range(len(z)) if k != aim), key=lambda k: z[k])
        other = other if lead is None else lead
        unit = np.eye(len(z))
        up = unit[other] - unit[aim] if targeted else unit[aim] - unit[other]
        hit = (z.argmax() == aim) == targeted
        points.append(x)
        hits.append(hit)
        taus.append(tau)
        g = (U.T @ ((1 - np.tanh(U @ (x - 0.5)) ** 2) * (V.T @ up))) * (not hit)
        if pixels:
            together = np.tile((d.reshape(2, 6) ** 2).sum(0), 2)
            g = g + 2 * d * a.sigma / (together + a.sigma) ** 2 / 6
        else:
            g = g + 2 * d * a.sigma / (d**2 + a.sigma) ** 2 / 12
        g = g / max(np.abs(g).max(), 1e-12)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        m_hat, v_hat = m / (1 - 0.9 ** (i + 1)), v / (1 - 0.999 ** (i + 1))
        d = np.clip(x0 + d - eta * m_hat / (np.sqrt(v_hat) + 1e-8), 0, 1) - x0
        eta = 0.1 * a.rate + 0.9 * a.rate * (1 + math.cos(math.pi * i / a.steps)) / 2
        tau = min(max(tau + a.tau_rate * eta * (1 if hit else -1), 0), 1)
        length = np.tile(np.linalg.norm(d.reshape(2, 6), axis=0), 2) if pixels else np.abs(d)
        d = np.where(length < tau, 0, d)
    return np.stack(points), hits, taus


def _trace(attack: Any, p: Any) -> tuple[Tensor, Tensor, ModelOracle]:
    """Points [steps + 1, B, *] and thresholds [steps + 1, B]; and the oracle with its books."""
    s, t, oracle, book = (
        attack.start(p),
        torch.zeros_like(p.y),
        ModelOracle(_model, Tiles(8, 8)),
        blank_book(p),
    )
    points, taus = [], []
    for _ in range(attack.steps + 1):
        points.append(attack.point(s))
        taus.append(s.tau)
        oracle.bind(p, book, t, torch.ones_like(t, dtype=torch.bool), attack.steps)
        s, t = attack.step(s, t, p, oracle), t + 1
        book = oracle.book
    return torch.stack(points), torch.stack(taus), oracle


@pytest.fixture
def rows(problem: Callable[..., Any]) -> Callable[[str], Any]:
    """Five images of two colours without a budget."""

    def make(norm: str) -> Any:
        x0 = torch.from_numpy(X0).reshape(5, *SHAPE)
        no_budget = torch.full((5,), torch.inf, dtype=torch.float64)
        return problem(_model, x0, _model(x0).argmax(1), no_budget, norm)

    return make


@pytest.mark.parametrize("norm", ["l0", "l0px"])
@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize(
    "options", [{"steps": 60}, {"steps": 25, "rate": 0.5, "sigma": 0.02, "tau": 0.1}]
)
def test_trajectory(
    norm: str, targeted: bool, options: dict[str, Any], rows: Callable[[str], Any]
) -> None:
    """All points and thresholds are those of the transcription, and the fewest changes too."""
    p, attack = rows(norm), SigmaZero(**options)
    if targeted:
        p = p.replace(target=p.logits0.argsort(1)[:, -2], targeted=True)
    points, taus, oracle = _trace(attack, p)
    found = 0
    for row in range(5):
        plain, hits, thresholds = plain_sigma_zero(
            X0[row], int(p.aim[row]), attack, norm == "l0px", targeted
        )
        assert np.abs(points[:, row].flatten(1).numpy() - plain).max() < 1e-9
        assert taus[:, row].tolist() == pytest.approx(thresholds, abs=1e-12)
        assert np.ptp(thresholds) > 0.02  # it moves
        sizes = NORMS[norm].size(points[:, row] - p.x0[row])[torch.tensor(hits)]
        assert float(oracle.book.size[row]) == float(min(sizes, default=torch.inf))
        found += len(sizes) > 0
    assert found >= 3
    assert oracle.book.n_forward.tolist() == [attack.steps + 1] * 5
    assert oracle.book.n_backward.tolist() == [attack.steps] * 5


def plain_polish(x0: Vector, y: int, top: Vector, moves: int, pixels: bool) -> list[Vector]:
    """Every point that is looked at: the first is the best found, units are pixels or entries."""
    units = [[i, i + 6] for i in range(6)] if pixels else [[i] for i in range(12)]
    x, rest, points = top.copy(), [-1] * len(units), [top]
    for move in range(moves - 1):
        z = V @ np.tanh(U @ (x - 0.5)) + C
        other = max((k for k in range(len(z)) if k != y), key=lambda k: z[k])
        unit = np.eye(len(z))
        g = U.T @ ((1 - np.tanh(U @ (x - 0.5)) ** 2) * (V.T @ (unit[other] - unit[y])))
        face = np.where(g > 0, 1.0, 0.0)
        now = [sum(g[i] * (x - x0)[i] for i in u) for u in units]
        best = [sum(g[i] * (face - x0)[i] for i in u) for u in units]
        changed = [u for u in range(len(units)) if any(x[i] != x0[i] for i in units[u])]
        unchanged = [u for u in range(len(units)) if u not in changed and rest[u] <= move]
        moved = x.copy()
        for u in changed:
            if best[u] > now[u]:
                moved[units[u]] = face[units[u]]
        awake = [u for u in changed if rest[u] <= move] or changed[:1]
        if awake:
            out = min(awake, key=lambda u: max(now[u], best[u]))
            moved[units[out]] = x0[units[out]]
            rest[out] = move + 5
        if z.argmax() == y and unchanged:
            into = max(unchanged, key=lambda u: best[u])
            moved[units[into]] = face[units[into]]
            rest[into] = move + 5
        x = moved
        points.append(x)
    return points


@pytest.mark.parametrize("norm", ["l0", "l0px"])
def test_polish_swaps_what_gives_least(norm: str, rows: Callable[[str], Any]) -> None:
    """The first moves are those without polish; then all points are the transcription's."""
    p = rows(norm)
    plain, _, _ = _trace(SigmaZero(steps=30), p)
    points, _, oracle = _trace(SigmaZero(steps=42, polish=12), p)
    assert torch.equal(points[:31], plain)
    assert oracle.book.n_forward.tolist() == [43] * 5
    polished = 0
    for row in range(5):
        y, x0 = int(p.y[row]), X0[row]
        hits = [x for x in plain[:, row] if int(_model(x[None]).argmax()) != y]
        if not hits:
            continue
        top = min(hits, key=lambda x: float(NORMS[norm].size((x - p.x0[row])[None])))
        expected = plain_polish(x0, y, top.flatten().numpy(), 12, norm == "l0px")
        assert np.abs(points[31:, row].flatten(1).numpy() - np.stack(expected)).max() < 1e-12
        polished += 1
    assert polished >= 3


@pytest.mark.parametrize("k", [0, 1, 2])
def test_one_run_per_likely_wrong_class(k: int, rows: Callable[[str], Any]) -> None:
    """The k-th climbs towards the k-th likeliest, by the transcription; no more than there are."""
    attack, p = SigmaZero(steps=40, targets=7), rows("l0")
    assert [attack.variants(classes) for classes in (2, 4, 100)] == [1, 3, 7]
    assert attack.adapted(4) == ["7 targets are cut to 3"]
    points, _, _ = _trace(attack, attack.vary(p, torch.full_like(p.y, k)))
    for row in range(5):
        lead = int(p.logits0[row].argsort(descending=True)[1 + k])
        plain, _, _ = plain_sigma_zero(X0[row], int(p.y[row]), attack, False, False, lead)
        assert np.abs(points[:, row].flatten(1).numpy() - plain).max() < 1e-9
    goal = p.replace(target=torch.zeros_like(p.y), targeted=True)
    assert attack.vary(goal, torch.zeros_like(p.y)) is goal
    one, other = (_trace(SigmaZero(steps=40, targets=n), goal)[0] for n in (0, 7))
    assert torch.equal(one, other)


def test_the_likeliest_class_may_be_out_of_reach(
    problem: Callable[..., Any], conquer: Callable[..., Any]
) -> None:
    """Then one run finds nothing, and that of the second class the one entry which is enough."""

    def model(x: Tensor) -> Tensor:
        near = 0.02 * (x[:, 1:] - 0.5).sum(1) - 0.1  # at most -0.03
        return torch.stack([torch.zeros(len(x)), near, x[:, 0] - 0.8], 1)

    p = problem(model, torch.full((1, 8), 0.5), torch.tensor([0]), torch.tensor([torch.inf]), "l0")
    (nothing,) = conquer(SigmaZero(steps=50), model, p)
    assert nothing.variant is None
    (end,) = conquer(SigmaZero(steps=50, targets=2), model, p)
    assert end.variant == 1
    assert (end.x != p.x0[0]).nonzero().tolist() == [[0]]


def _fewest(weight: Tensor, bias: Tensor, x0: Tensor, norm: str) -> int:
    """The fewest entries or pixels with which weight . x + bias gets positive, by trying all."""
    gains = torch.maximum(weight * (1 - x0), -weight * x0)
    gains = gains.sum(0).flatten() if norm == "l0px" else gains.flatten()
    need = -float((weight * x0).sum() + bias)
    for count in range(len(gains) + 1):
        for chosen in itertools.combinations(gains.tolist(), count):
            if sum(chosen) > need:
                return count
    raise AssertionError("out of reach")


@pytest.mark.parametrize("norm", ["l0", "l0px"])
def test_linear_models(norm: str, problem: Callable[..., Any], conquer: Callable[..., Any]) -> None:
    """Never fewer than the fewest by trying all, mostly as few, never two more."""
    draw, extra = torch.Generator().manual_seed(4), []
    for _ in range(6):
        weight = torch.randn(SHAPE, generator=draw, dtype=torch.float64)
        x0 = torch.rand(1, *SHAPE, generator=draw, dtype=torch.float64)
        reach = torch.maximum(weight * (1 - x0), -weight * x0).sum()
        bias = -(weight * x0).sum() - 0.5 * reach

        def model(x: Tensor, weight: Tensor = weight, bias: Tensor = bias) -> Tensor:
            return torch.stack(
                [torch.zeros_like(x[:, 0, 0, 0]), (x * weight).sum((1, 2, 3)) + bias], 1
            )

        no_budget = torch.full((1,), torch.inf, dtype=torch.float64)
        p = problem(model, x0, torch.tensor([0]), no_budget, norm)
        (end,) = conquer(SigmaZero(steps=200), model, p)
        assert end.variant is not None
        found = int(NORMS[norm].size(end.x[None] - x0))
        extra.append(found - _fewest(weight, bias, x0[0], norm))
    assert min(extra) >= 0
    assert max(extra) <= 1
    assert extra.count(0) >= 4


@pytest.mark.parametrize("norm", ["l0", "l0px"])
def test_a_budget_breaks_whom_the_smallest_perturbation_fits(
    norm: str, rows: Callable[[str], Any], conquer: Callable[..., Any]
) -> None:
    """And ends at the first point inside of it."""
    attack, free = SigmaZero(steps=60), rows(norm)
    sizes = [
        float(NORMS[norm].size(end.x[None] - x0)) if end.variant is not None else math.inf
        for end, x0 in zip(conquer(attack, _model, free), free.x0, strict=True)
    ]
    for budget in range(1, 6):
        p = free.replace(eps=torch.full_like(free.eps, budget))
        for row, end in enumerate(conquer(attack, _model, p)):
            assert (end.variant is not None) == (sizes[row] <= budget)
            assert end.variant is None or end.step < 60


def test_as_few_as_adv_lib(problem: Callable[..., Any], conquer: Callable[..., Any]) -> None:
    """The same sizes but where rounding decides, at equal queries."""
    attacks = pytest.importorskip("adv_lib.attacks")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(36, 24), nn.Tanh(), nn.Linear(24, 5))
    model.eval().requires_grad_(False)
    x0 = torch.rand(20, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    y = model(x0).argmax(1)
    p = problem(model, x0, y, torch.full((20,), torch.inf), "l0")
    ends = conquer(SigmaZero(steps=100), model, p)
    ours = NORMS["l0"].size(torch.stack([end.x for end in ends]) - x0)
    theirs = NORMS["l0"].size(attacks.sigma_zero(model, x0, y, num_steps=100) - x0)
    assert float((ours == theirs).float().mean()) > 0.8
