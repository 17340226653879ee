"""APGD in L1 against a plain transcription, the authors' code, and linear models."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robbench.attacks import apgd_l1
from robbench.attacks.apgd import APGD
from robbench.attacks.apgd_l1 import SparseState, phases
from robbench.attacks.base import Answer, Oracle
from robbench.attacks.pgd import PGD
from robbench.core import keyed
from robbench.objectives import Objective
from robbench.testing import check_attack
from robbench.threat.problem import Problem

pytestmark = pytest.mark.usefixtures("one_thread")

Vector = NDArray[np.float64]
DIMENSION, HIDDEN, CLASSES, ROWS = 24, 12, 5, 6


class Network(NamedTuple):
    """z = V tanh(U (x - 1/2)), with the derivative of the cross-entropy written out."""

    u: Vector
    v: Vector

    def climb(self, x: Vector, y: int) -> tuple[float, Vector]:
        """The cross-entropy at x, and its gradient."""
        hidden = np.tanh(self.u @ (x - 0.5))
        z = self.v @ hidden
        p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
        return -math.log(p[y]), self.u.T @ ((1 - hidden**2) * (self.v.T @ (p - np.eye(CLASSES)[y])))

    def torch(self, x: Tensor) -> Tensor:
        """Logits of a batch, in its own precision."""
        u, v = (torch.from_numpy(part).to(x.dtype) for part in self)
        return torch.tanh((x - 0.5) @ u.T) @ v.T


def _network(seed: int) -> Network:
    draw = np.random.default_rng(seed)
    return Network(2 * draw.normal(size=(HIDDEN, DIMENSION)), draw.normal(size=(CLASSES, HIDDEN)))


class PlainOracle(Oracle):
    """Answers and does nothing else."""

    def __init__(self, model: Callable[[Tensor], Tensor], p: Problem) -> None:
        self.model, self.p = model, p

    def logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def grad(self, x: Tensor, objective: Objective, need: Tensor | None = None) -> Answer:
        x = x.detach().requires_grad_()
        logits = self.model(x)
        value = objective(logits, self.p)
        (grad,) = torch.autograd.grad(value.sum(), x)
        return Answer(logits.detach(), value.detach(), grad, logits.argmax(1) != self.p.y)

    def jacobian(
        self, x: Tensor, classes: Tensor, need: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        raise NotImplementedError


def _states(attack: Any, model: Callable[[Tensor], Tensor], p: Problem) -> list[SparseState]:
    """The state before each query, and the one after the last."""
    s, q = attack.start(p), PlainOracle(model, p)
    states = [s]
    for k in range(attack.steps + 1):
        s = attack.step(s, torch.full_like(p.y, k), p, q)
        states.append(s)
    return states


def _rows(
    network: Network, problem: Callable[..., Problem], seed: int, dtype: torch.dtype = torch.float64
) -> Problem:
    draw = torch.Generator().manual_seed(seed)
    x0 = torch.rand(ROWS, DIMENSION, generator=draw, dtype=torch.float64)
    x0 = torch.where(torch.rand(ROWS, DIMENSION, generator=draw) < 0.2, x0.round(), x0).to(dtype)
    eps = torch.linspace(0.5, 3, ROWS, dtype=dtype)
    return problem(network.torch, x0, network.torch(x0).argmax(1), eps, "l1", seed)


def plain_projection(x: Vector, x0: Vector, eps: float) -> Vector:
    """The nearest point of box and ball: |x - x0| shrinks by s and is clipped; s by bisection."""
    d = x - x0
    room = np.where(d > 0, 1 - x0, x0)

    def shrunk(s: float) -> Vector:
        return np.clip(np.abs(d) - s, 0, room)

    if shrunk(0).sum() <= eps:
        return np.clip(x, 0, 1)
    low, high = 0.0, float(np.abs(d).max())
    for _ in range(60):
        s = (low + high) / 2
        low, high = (s, high) if shrunk(s).sum() > eps else (low, s)
    free = (np.abs(d) > high) & (np.abs(d) - high < room)
    if free.any():
        high += (shrunk(high).sum() - eps) / free.sum()
    return x0 + np.sign(d) * shrunk(high)


class Phase(NamedTuple):
    """All points and step lengths, the best point, checkpoint decisions, and ties by rounding."""

    xs: list[Vector]
    best: Vector
    etas: list[float]
    why: list[str]
    clear: int


def plain_phase(
    f: Callable[[Vector], tuple[float, Vector]],
    start: Vector,
    x0: Vector,
    eps: float,
    moves: int,
    k: float,
    changed: int,
) -> Phase:
    """Croce and Hein 2021, algorithm 1: one run inside one budget."""
    window = max(int(0.04 * moves + 1e-9), 1)
    eta, x = eps, start
    xs, etas, why = [start], [eta], []
    value, g = f(x)
    best, clear = (value, x, g), moves + 1
    for i in range(1, moves + 1):
        count = max(math.floor(k + 1e-9), 1)
        least = np.sort(np.abs(g))[::-1][count - 1]
        sign = np.where(np.abs(g) >= least, np.sign(g), 0)
        x = plain_projection(x + eta * sign / max(np.abs(sign).sum(), 1), x0, eps)
        xs.append(x)
        value, g = f(x)
        if abs(value - best[0]) < 1e-12 and np.abs(x - best[1]).max() > 1e-11:
            clear = min(clear, i)
        if value > best[0]:
            best = (value, x, g)
        if i % window == 0:
            now = int((best[1] != x0).sum())
            k = now / 1.5
            if changed and now / changed < 0.95:
                why.append("sparser")
                eta, x, g = eps, best[1], best[2]
            else:
                why.append("shorter" if eta > eps / 10 else "shortest")
                eta = max(eta / 1.5, eps / 10)
            changed = now
        etas.append(eta)
    return Phase(xs, best[1], etas, why, clear)


def plain_run(
    f: Callable[[Vector], tuple[float, Vector]],
    start: Vector,
    x0: Vector,
    eps: float,
    steps: int,
    large_eps: bool,
) -> Phase:
    """All phases; a move of `steps` is the one to the next phase's start."""
    if not large_eps:
        return plain_phase(f, start, x0, eps, steps, math.ceil(0.2 * len(x0)), len(x0))
    n = int(0.3 * steps + 1e-9)
    xs, etas, why, here, clear = [], [], [], start, steps + 1
    for factor, moves in ((3, n - 1), (2, n - 1), (1, steps - 2 * n)):
        if moves < 0:
            continue
        here = plain_projection(here, x0, factor * eps)
        changed = int((here != x0).sum())
        phase = plain_phase(f, here, x0, factor * eps, moves, changed / 1.5, changed)
        clear = min(clear, len(xs) + phase.clear if phase.clear <= moves else steps + 1)
        here = phase.best
        xs, etas, why = xs + phase.xs, etas + phase.etas, why + phase.why
    return Phase(xs, here, etas, why, clear)


def _well_posed(runs: list[Phase]) -> int:
    """Up to which step some runs agree to 1e-11."""
    apart = np.abs(np.array([run.xs for run in runs[1:]]) - np.array(runs[0].xs)).max(axis=(0, 2))
    return int((apart > 1e-11).argmax()) if (apart > 1e-11).any() else len(apart)


@pytest.mark.few(3)
@pytest.mark.parametrize("large_eps", [True, False])
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 10, 37, 100])
def test_trajectories(steps: int, large_eps: bool, problem: Callable[..., Problem]) -> None:
    """Every iterate and step length equals algorithm 1's to 1e-10, row by row in one batch.

    A comparison ends where two different points are equally good up to rounding, and where the
    transcription does not agree with itself when its start is moved by 1e-15; both must be rare.
    """
    draw, compared, seen = np.random.default_rng(0), 0, set()
    for seed in (1, 2):
        network = _network(seed)
        p = _rows(network, problem, seed)
        states = _states(APGD(steps=steps, large_eps=large_eps), network.torch, p)
        for row in range(ROWS):
            x0, eps, y = p.x0[row].numpy(), float(p.eps[row]), int(p.y[row])

            def f(x: Vector, network: Network = network, y: int = y) -> tuple[float, Vector]:
                return network.climb(x, y)

            start = states[0].x[row].numpy()
            expected = plain_run(f, start, x0, eps, steps, large_eps)
            moved = np.where(start != x0, draw.uniform(-1e-15, 1e-15, (2, DIMENSION)), 0)
            runs = [expected, *(plain_run(f, start + d, x0, eps, steps, large_eps) for d in moved)]
            until = min(expected.clear, _well_posed(runs))
            ours = np.stack([s.x[row].numpy() for s in states[: steps + 1]])
            apart = np.abs(ours[:until] - np.stack(expected.xs[:until])).max(axis=1)
            assert len(expected.xs) == steps + 1
            assert apart.max() < 1e-10, (row, until, int((apart > 1e-10).argmax()), expected.why)
            # The step length decided at a query shows in the next state, but for that of the move
            # to another phase.
            last = {stop - 1 for _, stop, _ in phases(steps, large_eps)}
            lengths = [
                (float(states[k + 1].eta[row]), expected.etas[k])
                for k in range(until - 1)
                if k not in last
            ]
            assert [a for a, _ in lengths] == pytest.approx([b for _, b in lengths], rel=1e-12)
            compared += until
            seen.update(expected.why)
    assert compared >= 0.8 * 2 * ROWS * (steps + 1)
    assert steps < 37 or seen == {"sparser", "shorter", "shortest"}


@pytest.mark.parametrize("large_eps", [True, False])
def test_trajectories_of_the_authors(
    large_eps: bool, problem: Callable[..., Problem], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the same Gaussian draw and k, the authors' code ends at the same points (float32)."""
    peer = pytest.importorskip("pyautoattack.autopgd_base")
    monkeypatch.setattr(
        apgd_l1,
        "_two_thirds",
        lambda n: DIMENSION - ((1 - n.float() / DIMENSION / 1.5) * DIMENSION).long(),
    )
    # Theirs also counts entries that are back at x0 up to rounding.
    monkeypatch.setattr(peer, "L0_norm", lambda d: (d.abs() > 1e-6).float().flatten(1).sum(1))
    network = _network(3)
    p = _rows(network, problem, 3, torch.float32)
    for steps in (10, 20):
        attack = APGD(steps=steps, large_eps=large_eps)
        ours = _states(attack, network.torch, p)[-1]
        noise = _noise(p)
        (_, a, _), (_, b, _), _ = phases(steps, large_eps)
        for row in range(ROWS):
            eps = float(p.eps[row])
            monkeypatch.setattr(torch, "randn", lambda shape, here=noise[row : row + 1]: here)
            monkeypatch.setattr(torch, "randn_like", lambda like, here=noise[row : row + 1]: here)
            apgd = peer.APGDAttack(network.torch, n_iter=steps, norm="L1", eps=eps, device="cpu")
            x0, y = p.x0[row : row + 1], p.y[row : row + 1]
            apgd.init_hyperparam(x0)
            if large_eps:
                best, _, value, _ = apgd.decr_eps_pgd(
                    x0, y, [3 * eps, 2 * eps, eps], [a - 1, b - a - 1, steps - b]
                )
            else:
                best, _, value, _ = apgd.attack_single_run(x0, y)
            assert float(ours.f_top[row]) == pytest.approx(float(value), rel=1e-4)
            assert torch.allclose(ours.x_top[row], best[0], atol=1e-4)


def _noise(p: Problem) -> Tensor:
    """The Gaussian draw of each row's start."""
    return keyed.normal(p.key, p.x0.shape[1:], dtype=p.x0.dtype)


def test_phases() -> None:
    """Half-open intervals of queries cover a run, the last at eps itself, for any steps."""
    assert phases(100, large_eps=True) == ((0, 30, 3), (30, 60, 2), (60, 101, 1))
    for steps in range(1, 200):
        for large_eps in (True, False):
            (zero, a, _), (b, c, _), (d, end, factor) = phases(steps, large_eps)
            assert (zero, a, c, end, factor) == (0, b, d, steps + 1, 1)
            assert end - d >= max(1, 0.4 * steps)
    assert phases(50, large_eps=False)[2][0] == 0


def test_it_keeps_the_contract_in_l1_too() -> None:
    """The conformance suite runs every norm of an attack, also l1; here without larger budgets."""
    assert "l1" in APGD.norms & PGD.norms
    check_attack("apgd:steps=3,large_eps=false")


def test_linear_models(problem: Callable[..., Problem], conquer: Callable[..., Any]) -> None:
    """Two classes away from the box: distance margin / max|w|, found at 1.01 of it, not at 0.99."""
    draw = torch.Generator().manual_seed(0)
    weight = torch.randn(2, 12, generator=draw, dtype=torch.float64)
    w = weight[0] - weight[1]
    x0 = 0.45 + 0.1 * torch.rand(16, 12, generator=draw, dtype=torch.float64)
    x0 += (
        (0.8 * torch.rand(16, generator=draw, dtype=torch.float64) - 0.4 - (x0 - 0.5) @ w) / (w @ w)
    )[:, None] * w

    def model(x: Tensor) -> Tensor:
        return (x - 0.5) @ weight.T

    y = model(x0).argmax(1)
    distance = ((x0 - 0.5) @ w).abs() / w.abs().max()
    assert float(distance.max()) < 0.4
    loose = {APGD(large_eps=False): 1.1}  # may end one entry away from the best
    for attack in (
        APGD(),
        *loose,
        APGD(objective="margin"),
        PGD(steps=200, rate=0.1),
        PGD(init="clean"),
    ):
        for share, found in ((loose.get(attack, 1.01), True), (0.99, False)):
            endings = conquer(attack, model, problem(model, x0, y, share * distance, "l1"))
            assert [ending.variant is not None for ending in endings] == [found] * 16


def test_linear_models_at_the_faces_of_the_box(
    problem: Callable[..., Problem], conquer: Callable[..., Any]
) -> None:
    """With budgets of several pixels the best point fills the steepest entries, one by one."""
    draw = torch.Generator().manual_seed(1)
    weight = torch.randn(2, 30, generator=draw, dtype=torch.float64)
    x0 = torch.rand(12, 30, generator=draw, dtype=torch.float64)

    def model(x: Tensor) -> Tensor:
        return (x - 0.5) @ weight.T + torch.tensor([0.0, 5.0], dtype=torch.float64)

    y = model(x0).argmax(1)
    w = (weight[1] - weight[0]) * (1 - 2 * y[:, None])  # what raises the other class
    room = torch.where(w > 0, 1 - x0, x0)
    order = w.abs().argsort(1, descending=True)
    room, gain = room.gather(1, order), w.abs().gather(1, order)
    margin = (model(x0)[:, 0] - model(x0)[:, 1]).abs()
    before = (room * gain).cumsum(1) - room * gain
    full = (before + room * gain < margin[:, None]).sum(
        1, keepdim=True
    )  # entries used up before the margin is
    spent, gained, steepness = (
        (a.gather(1, full)[:, 0]) for a in (room.cumsum(1) - room, before, gain)
    )
    distance = spent + (margin - gained) / steepness
    assert int((full > 1).sum()) > 3
    for attack in (APGD(), PGD(steps=200, rate=0.05)):
        for share, found in ((1.02, True), (0.99, False)):
            endings = conquer(attack, model, problem(model, x0, y, share * distance, "l1"))
            assert [ending.variant is not None for ending in endings] == [found] * 12


@pytest.mark.parametrize(("eps", "large_eps"), [(1.5, True), (3.0, True), (1.5, False)])
def test_as_strong_as_the_authors(
    eps: float, large_eps: bool, problem: Callable[..., Problem], conquer: Callable[..., Any]
) -> None:
    """On a random network both break about as many of 200 points: within chance."""
    peer = pytest.importorskip("pyautoattack.autopgd_base")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = nn.Sequential(
            nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 10)
        ).requires_grad_(False)
        x0 = torch.rand(200, 64)
        y = net(x0).argmax(1)
        endings = conquer(
            APGD(steps=40, large_eps=large_eps),
            net,
            problem(net, x0, y, torch.full((200,), eps), "l1"),
            width=64,
        )
        apgd = peer.APGDAttack(
            net, n_iter=40, norm="L1", eps=eps, use_largereps=large_eps, device="cpu"
        )
        theirs = net(apgd.perturb(x0, y)).argmax(1) == y
    ours = torch.tensor([ending.variant is None for ending in endings])
    assert 10 < int(theirs.sum()) < 150
    only_ours, only_theirs = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    assert abs(only_ours - only_theirs) <= 3 * math.sqrt(max(only_ours + only_theirs, 1))
    assert abs(only_ours - only_theirs) <= 8
