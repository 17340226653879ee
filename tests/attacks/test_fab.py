"""FAB against exact distances, a transcription of its loop, and the authors' code."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize
from torch import Tensor, nn

from robbench.attacks.base import Answer, Oracle
from robbench.attacks.fab import FAB
from robbench.catalogue.builtins import ATTACKS
from robbench.objectives import Objective
from robbench.threat.problem import Problem

from .plain_network import CLASSES, DIMENSION, Network, Vector, network_of

pytestmark = pytest.mark.usefixtures("one_thread")

NORMS = ["linf", "l2", "l1"]
ORDER = {"linf": math.inf, "l2": 2, "l1": 1}
DUAL_ORDER = {"linf": 1, "l2": 2, "l1": math.inf}
NO_BUDGET = math.inf


class Variant:
    """One variant of an attack, as an attack of its own: for the whole of what each finds."""

    def __init__(self, attack: Any, k: int) -> None:
        self.attack, self.k = attack, k

    def __getattr__(self, name: str) -> Any:
        return getattr(self.attack, name)

    def variants(self, classes: int) -> int:
        return 1

    def vary(self, p: Problem, k: Tensor) -> Problem:
        return self.attack.vary(p, torch.full_like(k, self.k))


def _size(d: Tensor, norm: str) -> Tensor:
    return torch.as_tensor(torch.linalg.vector_norm(d.flatten(1), ord=ORDER[norm], dim=1))


def _smallest(conquer: Callable[..., Any], attack: Any, model: Any, p: Problem) -> Tensor:
    """[B]: the size of the nearest adversarial point of all variants, verified; inf without one."""
    best = torch.full_like(p.eps, torch.inf)
    for k in range(attack.variants(p.logits0.shape[1])):
        endings = conquer(Variant(attack, k), model, p, width=64)
        x = torch.stack([ending.x for ending in endings])
        found = torch.tensor([ending.variant is not None for ending in endings])
        assert bool(((x >= 0) & (x <= 1)).all())
        with torch.no_grad():
            assert bool((model(x).argmax(1) != p.y)[found].all())
        best = torch.where(found, torch.minimum(best, _size(x - p.x0, p.norm.name)), best)
    return best


# -- linear models


def _distance(x: Vector, w: Vector, gap: float, norm: str) -> float:
    """The smallest size of a d with <w, d> >= gap > 0 and x + d in the box, by general solvers."""
    n = len(x)
    if w @ np.where(w > 0, 1 - x, -x) <= gap:
        return math.inf
    if norm == "l2":
        start = np.where(w > 0, 1 - x, -x)
        found = minimize(
            lambda d: float(d @ d),
            start,
            jac=lambda d: 2 * d,
            method="SLSQP",
            bounds=list(zip(-x, 1 - x, strict=True)),
            constraints={"type": "ineq", "fun": lambda d: w @ d - gap, "jac": lambda d: w},
            options={"ftol": 1e-14, "maxiter": 500},
        )
        return float(np.sqrt(found.fun))
    if norm == "l1":
        cost, left, room = (
            np.ones(2 * n),
            -np.concatenate([w, -w])[None],
            [(0, 1 - v) for v in x] + [(0, v) for v in x],
        )
        return float(linprog(cost, A_ub=left, b_ub=[-gap], bounds=room).fun)
    eye, ones = np.eye(n), np.ones((n, 1))
    left = np.block([[eye, -ones], [-eye, -ones], [-w[None], np.zeros((1, 1))]])
    right = np.append(np.zeros(2 * n), -gap)
    return float(
        linprog(
            np.eye(n + 1)[n], A_ub=left, b_ub=right, bounds=[(-v, 1 - v) for v in x] + [(0, None)]
        ).fun
    )


@pytest.mark.few(4)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("targeted", [False, True])
def test_linear_models(
    targeted: bool,
    classes: int,
    norm: str,
    problem: Callable[..., Any],
    conquer: Callable[..., Any],
) -> None:
    """Within 1 to 1.05 of the distance to the nearest of K-1 boundaries; half the inputs 0 or 1."""
    draw = torch.Generator().manual_seed(classes)
    weight = torch.randn(classes, 8, generator=draw, dtype=torch.float64)
    x0 = (2 * torch.rand(8, 8, generator=draw, dtype=torch.float64) - 0.5).clamp(0, 1)

    def model(x: Tensor) -> Tensor:
        return (x - 0.5) @ weight.T

    y = model(x0).argmax(1)
    p = problem(model, x0, y, torch.full((8,), NO_BUDGET, dtype=torch.float64), norm)
    found = _smallest(conquer, FAB(iterations=20, targeted=targeted), model, p)
    boxed, free = (torch.full((8, classes), torch.inf, dtype=torch.float64) for _ in range(2))
    for i in range(8):
        for k in set(range(classes)) - {int(y[i])}:
            w, gap = weight[k] - weight[y[i]], float(p.logits0[i, y[i]] - p.logits0[i, k])
            boxed[i, k] = _distance(x0[i].numpy(), w.numpy(), gap, norm)
            free[i, k] = gap / torch.linalg.vector_norm(w, ord=DUAL_ORDER[norm])
    assert bool((boxed.amin(1) > 1.01 * free.amin(1)).any())  # the box matters
    ratio = found / boxed.amin(1)
    assert float(ratio.min()) > 1 - 1e-6
    # Untargeted, the paper chooses the class that would be nearest without the box.
    same = torch.ones(8, dtype=torch.bool) if targeted else boxed.argmin(1) == free.argmin(1)
    assert int(same.sum()) >= 5
    assert float(ratio[same].max()) < 1.05


# -- the loop of the paper

ROWS = 8


def _plain_way(x: Vector, w: Vector, b: float, norm: str) -> Vector:
    """The way from x to <w, z> = b, coordinate by coordinate."""
    gap = b - w @ x
    if gap < 0:
        w, gap = -w, -gap
    room, u, d = np.where(w > 0, 1 - x, x), np.abs(w), np.zeros_like(x)
    if u @ room <= gap:
        return np.sign(w) * room
    if norm == "l1":
        for i in np.argsort(-u):
            d[i] = min(room[i], max(gap - u @ d, 0) / u[i])
        return np.sign(w) * d
    speed = u if norm == "l2" else np.ones_like(u)
    for lam in sorted(room / speed):  # until the first face that lies behind the hyperplane
        if u @ np.minimum(lam * speed, room) >= gap:
            free = lam * speed <= room * (1 + 1e-14)
            lam = (gap - u[~free] @ room[~free]) / (u[free] @ speed[free])
            break
    return np.sign(w) * np.minimum(lam * speed, room)


class Run(NamedTuple):
    """Where the plain loop moved, and which of these points were adversarial."""

    xs: list[Vector]
    hits: list[bool]


def plain_fab(f: Network, x0: Vector, y: int, rivals: list[int], norm: str, iterations: int) -> Run:
    """Croce and Hein 2020, algorithm 1, one sample, with forwards and backwards as they come."""
    alpha_max, eta, beta = 0.1, 1.05, 0.9
    unit, x = np.eye(CLASSES), x0
    run = Run([], [])
    for _ in range(iterations):
        ways = []
        for k in rivals:
            df, dg = (unit[k] - unit[y]) @ f.logits(x), f.pull(x, unit[k] - unit[y])
            ways.append((abs(df) / np.linalg.norm(dg, DUAL_ORDER[norm]), dg @ x - df, dg))
        _, b, w = min(ways, key=lambda way: way[0])
        d1, d2 = _plain_way(x, w, b, norm), _plain_way(x0, w, b, norm)
        near, far = (np.linalg.norm(d, ORDER[norm]) for d in (d1, d2))
        alpha = min(near / (near + far), alpha_max)
        x = np.clip((1 - alpha) * (x + eta * d1) + alpha * (x0 + eta * d2), 0, 1)
        run.xs.append(x)
        run.hits.append(int(f.logits(x).argmax()) != y)
        if run.hits[-1]:
            x = x0 + beta * (x - x0)
    return run


class PlainOracle(Oracle):
    """Answers without books; no gradient but a wild one for rows that need none."""

    def __init__(self, network: Network, p: Problem) -> None:
        self.network, self.p = network, p
        self.asked: list[Tensor] = []

    def logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def grad(self, x: Tensor, objective: Objective, need: Tensor | None = None) -> Answer:
        assert need is not None
        self.asked.append(need)
        x = x.detach().requires_grad_()
        logits = self.network.torch(x)
        value = objective(logits, self.p)
        (grad,) = torch.autograd.grad(value.sum(), x)
        grad = torch.where(need[:, None], grad, torch.full_like(grad, 1e3))
        return Answer(logits.detach(), value.detach(), grad, logits.argmax(1) != self.p.y)

    def jacobian(
        self, x: Tensor, classes: Tensor, need: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        x = x.detach().requires_grad_()
        logits = self.network.torch(x)
        columns = logits.gather(1, classes).unbind(1)
        grads = [torch.autograd.grad(column.sum(), x, retain_graph=True)[0] for column in columns]
        return logits.detach(), torch.stack(grads, 1), logits.argmax(1) != self.p.y


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("rank", [None, 0, 2])
def test_the_loop_of_the_paper(rank: int | None, norm: str, problem: Callable[..., Any]) -> None:
    """Every point equals the plain loop's to 1e-10, row by row; rank: of the target, or None."""
    network, iterations = network_of(1, scale=4), 30
    x0 = torch.rand(40, DIMENSION, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = network.torch(x0).argmax(1)
    x0, y = x0[:ROWS], y[:ROWS]
    attack = FAB(iterations=iterations, targeted=rank is not None)
    p = attack.vary(
        problem(network.torch, x0, y, torch.full_like(x0[:, 0], NO_BUDGET), norm),
        torch.full_like(y, rank or 0),
    )
    s, t, q = attack.start(p), torch.zeros_like(y), PlainOracle(network, p)
    moved: list[list[Vector]] = [[] for _ in range(ROWS)]
    for _ in range(attack.steps + 1):
        before = s.moves
        s, t = attack.step(s, t, p, q), t + 1
        for row in (s.moves > before).nonzero()[:, 0].tolist():
            moved[row].append(s.x[row].numpy())
    assert bool(attack.done(s).all())
    assert all(np.array_equal(s.x[row].numpy(), moved[row][-1]) for row in range(ROWS))
    changes = 0
    for row in range(ROWS):
        rivals = [k for k in np.argsort(-network.logits(x0[row].numpy())).tolist() if k != y[row]]
        rivals = rivals if rank is None else rivals[rank : rank + 1]
        plain = plain_fab(network, x0[row].numpy(), int(y[row]), rivals, norm, iterations)
        assert np.abs(np.stack(moved[row]) - np.stack(plain.xs)).max() < 1e-10
        changes += sum(a and not b for a, b in itertools.pairwise(plain.hits))
    assert changes >= 3  # it also crosses the boundary, and then fails to


# -- what it costs


class Watched:
    """A model that counts its calls, and gradients that come back."""

    def __init__(self, model: Callable[[Tensor], Tensor]) -> None:
        self.model = model
        self.calls = self.n_backward = 0

    def __call__(self, x: Tensor) -> Tensor:
        z = self.model(x)
        self.calls += 1
        if x.requires_grad:
            x.register_hook(self._back)
        return z

    def _back(self, grad: Tensor) -> None:
        self.n_backward += 1


@pytest.mark.parametrize(
    ("attack", "n_backward"),
    [(FAB(iterations=7, targeted=True, targets=1), 7), (FAB(iterations=7), 35)],
)
def test_the_cost_of_a_row_that_never_succeeds(
    attack: FAB, n_backward: int, problem: Callable[..., Any], conquer: Any
) -> None:
    """Seven moves: eight forwards; a backward a move if targeted, else one per class, query."""
    network = network_of(1, scale=4)

    def safe(x: Tensor) -> Tensor:  # smooth, but its label never changes
        return 0.01 * network.torch(x) + torch.tensor([0.0, 0, 0, 0, 1])

    x0 = torch.full((1, DIMENSION), 0.45, dtype=torch.float64)
    p = problem(safe, x0, torch.tensor([4]), torch.tensor([NO_BUDGET], dtype=torch.float64), "l2")
    watched = Watched(safe)
    (ending,) = conquer(attack, watched, p)
    assert ending.variant is None
    assert watched.calls == 8
    assert watched.n_backward == n_backward


def test_the_cost_of_a_row_that_succeeds(
    problem: Callable[..., Any], conquer: Callable[..., Any]
) -> None:
    """One gradient per move, and one more for the first that crosses the boundary."""
    network, attack, relapses = (
        network_of(1, scale=4),
        FAB(iterations=30, targeted=True, targets=1),
        0,
    )
    for x0 in torch.rand(
        ROWS, 1, DIMENSION, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    ):
        y = network.torch(x0).argmax(1)
        p = problem(network.torch, x0, y, torch.full_like(x0[:, 0], NO_BUDGET), "linf")
        rival = next(k for k in np.argsort(-network.logits(x0[0].numpy())).tolist() if k != int(y))
        hits = plain_fab(network, x0[0].numpy(), int(y), [rival], "linf", 30).hits
        lost = sum(not hit for hit in itertools.dropwhile(lambda hit: not hit, hits[:-1]))
        watched = Watched(network.torch)
        conquer(attack, watched, p)
        assert watched.n_backward == 30 + any(hits[:-1])
        assert watched.calls == 30 + sum(hits[:-1]) + lost + 1
        assert watched.calls <= attack.steps + 1 == 60
        relapses += lost
    assert relapses >= 2


def test_two_classes_need_one_gradient(
    problem: Callable[..., Any], conquer: Callable[..., Any]
) -> None:
    """With two classes there is one boundary: targeted or not is the same, to the last bit."""
    network = network_of(1, scale=4)

    def model(x: Tensor) -> Tensor:
        return network.torch(x)[:, :2]

    x0 = torch.rand(6, DIMENSION, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    p = problem(
        model, x0, model(x0).argmax(1), torch.full((6,), NO_BUDGET, dtype=torch.float64), "l2"
    )
    ends, costs = [], []
    for targeted in (False, True):
        watched = Watched(model)
        ends.append(
            torch.stack(
                [ending.x for ending in conquer(FAB(iterations=10, targeted=targeted), watched, p)]
            )
        )
        costs.append((watched.calls, watched.n_backward))
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], x0)
    assert costs[0] == costs[1]


# -- the authors' code


@pytest.fixture(scope="module")
def small() -> tuple[nn.Module, Tensor, Tensor]:
    """A small trained network on 4 classes of 1 x 5 x 5 images, with inputs that it gets right."""
    draw = torch.Generator().manual_seed(0)
    centres = torch.rand(4, 1, 5, 5, generator=draw)
    y = torch.arange(160) % 4
    x = (centres[y] + 0.25 * torch.randn(160, 1, 5, 5, generator=draw)).clamp(0, 1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Flatten(),
            nn.Linear(25, 24),
            nn.ReLU(),
            nn.Linear(24, 24),
            nn.Tanh(),
            nn.Linear(24, 4),
        )
    weights = list(model.parameters())
    for _ in range(100):
        grads = torch.autograd.grad(nn.functional.cross_entropy(model(x), y), weights)
        with torch.no_grad():
            for weight, grad in zip(weights, grads, strict=True):
                weight -= 0.3 * grad
    model.requires_grad_(False)
    right = (model(x).argmax(1) == y).nonzero()[:48, 0]
    return model.eval(), x[right], y[right]


def _theirs(model: Any, x: Tensor, y: Tensor, norm: str, targeted: bool, eps: float) -> Any:
    pytest.importorskip("pyautoattack")
    from pyautoattack.fab_pt import FABAttack_PT

    name = {"linf": "Linf", "l2": "L2", "l1": "L1"}[norm]
    return FABAttack_PT(
        model, norm=name, n_iter=30, eps=eps, targeted=targeted, n_target_classes=3, device=x.device
    )


@pytest.mark.few(3)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("targeted", [False, True])
def test_as_near_as_the_authors(
    targeted: bool, norm: str, small: Any, problem: Callable[..., Any], conquer: Callable[..., Any]
) -> None:
    """The same sizes, but where theirs steps back from its best point unnoticed: 0.9 of it."""
    model, x, y = small
    theirs = _theirs(model, x, y, norm, targeted, eps=100.0)
    best = torch.full((len(x),), torch.inf)
    for target in (2, 3, 4) if targeted else (None,):
        theirs.target_class = target
        adversarial = theirs.attack_single_run(x, y, is_targeted=targeted)
        hit = model(adversarial).argmax(1) != y
        best = torch.where(hit, torch.minimum(best, _size(adversarial - x, norm)), best)
    p = problem(model, x, y, torch.full((len(x),), NO_BUDGET), norm)
    ratio = _smallest(conquer, FAB(iterations=30, targeted=targeted), model, p) / best
    same, noticed = (ratio - 1).abs() < 1e-3, (ratio - 0.9).abs() < 1e-3
    assert int((same | noticed).sum()) >= len(x) - 2, ratio  # a row or two may tip over in float32
    assert int(same.sum()) >= 0.7 * len(x)


@pytest.mark.few(3)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("targeted", [False, True])
def test_as_many_within_a_budget_as_the_authors(
    targeted: bool, norm: str, small: Any, problem: Callable[..., Any], conquer: Callable[..., Any]
) -> None:
    """At a budget that breaks half of the samples, the authors' code breaks nearly the same."""
    model, x, y = small
    eps = {"linf": 0.16, "l2": 0.68, "l1": 1.8}[norm]
    with torch.random.fork_rng():
        adversarial = _theirs(model, x, y, norm, targeted, eps).perturb(x, y)
    there = (model(adversarial).argmax(1) != y) & (_size(adversarial - x, norm) <= eps + 1e-6)
    p = problem(model, x, y, torch.full((len(x),), eps), norm)
    endings = conquer(FAB(iterations=30, targeted=targeted), model, p, width=64)
    here = torch.tensor([ending.variant is not None for ending in endings])
    assert 0.3 < float(here.float().mean()) < 0.7
    assert int((there & ~here).sum()) <= 1
    assert int((here & ~there).sum()) <= 3


# -- corners


@pytest.mark.parametrize(("classes", "count"), [(2, 1), (3, 2), (10, 9), (12, 9)])
def test_targets_never_exceed_the_wrong_classes(
    classes: int, count: int, problem: Callable[..., Any]
) -> None:
    """fab-t has nine targets by default, or all wrong classes, likeliest first; then restarts."""
    attack = ATTACKS.build("fab-t:restarts=2")
    weight = torch.randn(classes, 6, generator=torch.Generator().manual_seed(classes))
    x0 = torch.rand(5, 6, generator=torch.Generator().manual_seed(0))
    p = problem(
        lambda x: x @ weight.T, x0, (x0 @ weight.T).argmax(1), torch.full((5,), 0.1), "linf"
    )
    assert attack.variants(classes) == 2 * count
    targets = torch.stack(
        [attack.vary(p, torch.full_like(p.y, k)).target for k in range(2 * count)], 1
    )
    assert torch.equal(targets[:, :count], targets[:, count:])
    assert torch.equal(targets[:, :count], p.logits0.argsort(1, descending=True)[:, 1 : count + 1])


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("eps", [0.3, NO_BUDGET])
def test_restarts(norm: str, eps: float, problem: Callable[..., Any]) -> None:
    """The first start is the input; later ones differ, within eps/2 in the box; eps may be inf."""
    x0 = torch.rand(20, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    p = problem(
        lambda x: x.flatten(1)[:, :4],
        x0,
        torch.zeros(20, dtype=torch.int64),
        torch.full((20,), eps),
        norm,
    )
    attack = FAB(restarts=3)
    assert attack.variants(4) == 3
    starts = [attack.start(attack.vary(p, torch.full_like(p.y, k))).x for k in range(3)]
    assert torch.equal(starts[0], x0)
    assert torch.equal(FAB().start(p).x, x0)
    limit = eps / 2 if math.isfinite(eps) else 0.025 * float(_size(torch.ones(1, 48), norm))
    for start in starts[1:]:
        size = _size(start - x0, norm)
        assert float(size.max()) <= limit * (1 + 1e-5)
        assert float(size.min()) > 0.5 * limit  # the box takes a part of it
        assert bool(((start >= 0) & (start <= 1)).all())
    assert bool((starts[1] != starts[2]).flatten(1).any(1).all())
    mixed = torch.arange(20) % 3
    together = attack.start(attack.vary(p, mixed)).x
    assert all(torch.equal(together[row], starts[int(mixed[row])][row]) for row in range(20))


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("norm", NORMS)
def test_images_are_flat_inside(
    targeted: bool, norm: str, small: Any, problem: Callable[..., Any], conquer: Any
) -> None:
    """[B,D] and [B,C,H,W] give the same points."""
    model, x, y = small
    ends = []
    for inputs in (x[:8], x[:8].flatten(1)):
        p = problem(model, inputs, y[:8], torch.full((8,), NO_BUDGET), norm)
        ends.append(
            torch.stack(
                [ending.x for ending in conquer(FAB(iterations=6, targeted=targeted), model, p)]
            ).flatten(1)
        )
    assert torch.equal(ends[0], ends[1])


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("bad", ["flat", "nan"])
def test_without_a_gradient_rows_stay(
    bad: str, targeted: bool, norm: str, problem: Callable[..., Any]
) -> None:
    """A dead row does not drift, a row without finite logits stays, its neighbour is untouched."""
    network = network_of(1, scale=4)

    def model(x: Tensor) -> Tensor:
        z = network.torch(x)
        good = (x[:, :1] < 0.5).to(x)
        return (
            z * good + z.detach() * (1 - good)
            if bad == "flat"
            else z * torch.where(good > 0, good, torch.nan)
        )

    class Spoiled(PlainOracle):
        def jacobian(
            self, x: Tensor, classes: Tensor, need: Tensor | None = None
        ) -> tuple[Tensor, Tensor, Tensor]:
            logits, grad, hit = super().jacobian(x, classes, need)
            return logits, grad.nan_to_num(0.0), hit

        def grad(self, x: Tensor, objective: Objective, need: Tensor | None = None) -> Answer:
            answer = super().grad(x, objective, need)
            return answer._replace(grad=answer.grad.nan_to_num(0.0))

    x0 = torch.full((2, DIMENSION), 0.45, dtype=torch.float64)
    x0[1, 0] = 0.9
    y = network.torch(x0).argmax(1)
    attack = FAB(iterations=5, targeted=targeted)
    p = attack.vary(
        problem(network.torch, x0, y, torch.full((2,), NO_BUDGET, dtype=torch.float64), norm),
        torch.zeros_like(y),
    )
    spoiled, q = (attack.start(p), torch.zeros_like(y)), Spoiled(network, p)
    q.network = type("Net", (), {"torch": staticmethod(model)})()  # type: ignore[assignment]
    s, t = spoiled
    for _ in range(attack.steps + 1):
        s = attack.step(s, t, p, q)
        assert torch.equal(s.x[1], x0[1])
    assert bool(torch.isfinite(s.x).all())
    assert not torch.equal(s.x[0], x0[0])


@pytest.mark.parametrize("norm", NORMS)
def test_a_class_that_equals_the_label(
    norm: str, problem: Callable[..., Any], conquer: Callable[..., Any]
) -> None:
    """Two equal logits have no boundary; the way to the third class is found."""
    weight = torch.tensor([[1.0, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=torch.float64)
    x0 = torch.tensor([[0.6, 0.6, 0.4]], dtype=torch.float64)
    p = problem(
        lambda x: x @ weight.T,
        x0,
        torch.tensor([0]),
        torch.tensor([NO_BUDGET], dtype=torch.float64),
        norm,
    )
    found = _smallest(conquer, FAB(iterations=10), lambda x: x @ weight.T, p)
    assert 1 <= float(found) / (0.8 / {"linf": 3, "l2": math.sqrt(3), "l1": 1}[norm]) < 1.05


@pytest.mark.parametrize("norm", NORMS)
def test_a_point_on_the_budget_counts(
    norm: str, small: Any, problem: Callable[..., Any], conquer: Callable[..., Any]
) -> None:
    """In float32 (x + d) - x may exceed d by a rounding: the size found is a sufficient budget."""
    model, x, y = small
    attack = FAB(iterations=10)
    size = _smallest(
        conquer, attack, model, problem(model, x, y, torch.full((len(x),), NO_BUDGET), norm)
    )
    for budget, expected in (
        (size, True),
        (torch.nextafter(size, torch.zeros(())), True),
        (0.99 * size, False),
    ):
        endings = conquer(attack, model, problem(model, x, y, budget, norm))
        assert [ending.variant is not None for ending in endings] == [expected] * len(x)


def test_nothing_is_left_behind(problem: Callable[..., Any], conquer: Callable[..., Any]) -> None:
    """No gradient on weights or inputs, no input changed; misclassified samples are fine."""
    model = nn.Linear(6, 4).double()
    x0 = torch.rand(9, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    before, right = x0.clone(), model(x0).argmax(1)
    for y in (right, (right + 1) % 4):
        for rows in (slice(0, 9), slice(0, 1)):
            p = problem(model, x0[rows], y[rows], torch.full_like(x0[rows, 0], 0.2), "linf")
            endings = conquer(FAB(iterations=5), model, p)
            assert y is right or [ending.step for ending in endings] == [0] * len(endings)
    assert torch.equal(x0, before)
    assert x0.grad is None
    assert all(weight.grad is None for weight in model.parameters())
