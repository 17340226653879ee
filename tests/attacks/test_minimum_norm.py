"""Minimum-norm attacks: linear models with known distances, and other packages."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robbench.catalogue.builtins import ATTACKS
from robbench.core.tiles import Tiles
from robbench.threat.norms import NORMS

pytestmark = pytest.mark.usefixtures("one_thread")

DUAL_ORDER = {"linf": 1, "l2": 2, "l1": torch.inf}
# Norm and attack, and how far above the exact distance it may end.
LINEAR = [
    ("l2", "deepfool", 1.0201),
    ("linf", "deepfool", 1.0201),
    ("l2", "deepfool:overshoot=0.001,steps=3", 1.00101),
    ("l2", "ddn:steps=200", 1.005),
    ("l2", "ddn:steps=150,polish=8", 1.0005),
    ("l2", "fmn", 1.0001),
    ("linf", "fmn", 1.0001),
    ("l1", "fmn", 1.002),
    ("l1", "pdpgd:polish=10", 1.08),
    ("linf", "pdpgd:steps=200,polish=10", 1.002),
    ("l2", "superdeepfool", 1.001),
    ("l2", "cw:iterations=150,search_steps=6,c=0.1", 1.02),
]
SHAPES = [(12,), (3, 4), (1, 3, 4)]


def _linear(
    classes: int, rows: int, shape: tuple[int, ...], runner_up: bool = False
) -> tuple[Callable[[Tensor], Tensor], Tensor, Tensor]:
    """A linear model, its weights, and points near a boundary; all logits are negative.

    With `runner_up` the first two classes are far above all others, so that only one boundary can
    be near.
    """
    draw = torch.Generator().manual_seed(100 * classes + rows)
    weight = torch.randn(classes, 12, generator=draw, dtype=torch.float64)
    x0 = 0.4 + 0.2 * torch.rand(rows, *shape, generator=draw, dtype=torch.float64)
    bias = torch.full((classes,), -60.0, dtype=torch.float64)
    bias[2:] -= 40 * runner_up

    def model(x: Tensor) -> Tensor:
        return (x.flatten(1) - 0.5) @ weight.T + bias

    return model, weight, x0


def _distances(z: Tensor, y: Tensor, weight: Tensor, norm: str) -> Tensor:
    """[B]: to the nearest of the K-1 boundaries, each at (z_y - z_k) / dual norm of (w_y - w_k)."""
    steepness = torch.linalg.vector_norm(
        weight[y][:, None] - weight[None], ord=DUAL_ORDER[norm], dim=2
    )
    far = ((z.gather(1, y[:, None]) - z) / steepness.clamp(min=1e-30)).scatter(
        1, y[:, None], torch.inf
    )
    return far.amin(1)


@pytest.mark.few(3)
@pytest.mark.parametrize(("norm", "spec", "factor"), LINEAR, ids=str)
@pytest.mark.parametrize(
    "classes", [*(pytest.param(k, marks=pytest.mark.slow) for k in (2, 3)), 10]
)
def test_linear_models(
    norm: str,
    spec: str,
    factor: float,
    classes: int,
    problem: Callable[..., Any],
    conquer: Callable[..., Any],
) -> None:
    """Never nearer than the exact distance, hardly farther, for 1-3 axes and any batch.

    Only DeepFool compares the boundaries of all classes; the others go to that of the likeliest,
    which must be the nearest.
    """
    for rows, shape in zip((1, 3, 8), SHAPES, strict=True):
        model, weight, x0 = _linear(classes, rows, shape, runner_up=not spec.startswith("deepfool"))
        y = model(x0).argmax(1)
        exact = _distances(model(x0), y, weight, norm)
        p = problem(model, x0, y, torch.full((rows,), torch.inf, dtype=torch.float64), norm)
        ends = conquer(ATTACKS.build(spec), model, p)
        assert all(end.variant is not None for end in ends)
        points = torch.stack([end.x for end in ends])
        assert bool((model(points).argmax(1) != y).all())
        ratio = NORMS[norm].size(points - x0) / exact
        assert float(ratio.min()) >= 1 - 1e-5
        assert float(ratio.max()) <= factor, ratio


@pytest.mark.parametrize("spec", ["fmn", "pdpgd:steps=200"])
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_l0_on_linear_models(
    classes: int, spec: str, problem: Callable[..., Any], conquer: Callable[..., Any]
) -> None:
    """The fewest entries to cross a boundary: never fewer, mostly as few, never 2 more."""
    model, weight, x0 = _linear(classes, 12, (12,), runner_up=True)
    y = model(x0).argmax(1)
    z = model(x0)
    exact = []
    for row in range(len(x0)):
        counts = []
        for k in range(classes):
            if k != y[row]:
                w = weight[k] - weight[y[row]]
                gains = (
                    torch.where(w > 0, w * (1 - x0[row]), -w * x0[row])
                    .sort(descending=True)
                    .values.cumsum(0)
                )
                counts.append(int((gains <= z[row, y[row]] - z[row, k]).sum()) + 1)
        exact.append(min(counts))
    p = problem(model, x0, y, torch.full((12,), torch.inf, dtype=torch.float64), "l0")
    ends = conquer(ATTACKS.build(spec), model, p)
    extra = [int((end.x != x0[row]).sum()) - exact[row] for row, end in enumerate(ends)]
    assert min(extra) >= 0
    assert max(extra) <= 1
    assert extra.count(0) >= 8


@pytest.mark.parametrize(
    "spec", ["deepfool", "ddn:steps=60", "fmn", "cw:iterations=100,search_steps=4,c=0.1"]
)
def test_points_on_the_faces_of_the_box(
    spec: str, problem: Callable[..., Any], conquer: Callable[..., Any]
) -> None:
    """Every entry is 0 or 1 and half cannot move: the distance in the box is found.

    An entry that starts at 0 or 1 must be able to leave it, and first-order steps that the box cuts
    must not shrink to nothing.
    """
    draw = torch.Generator().manual_seed(3)
    x0 = (torch.rand(3, 20, generator=draw) < 0.5).float()
    weight = torch.randn(20, generator=draw)
    free = torch.where(weight > 0, x0 < 1, x0 > 0)
    exact = torch.full((3,), 0.3)
    bias = -(
        (x0 * weight).sum(1) + exact * (weight * free).norm(dim=1)
    )  # the boundary of each row is 0.3 away

    def model_of(rows: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda x: torch.stack([torch.zeros(len(x)), x @ weight + rows], 1)

    slack = 1.07 if spec == "ddn:steps=60" else 1.25 if spec == "deepfool" else 1.04
    for row in range(3):
        model = model_of(bias[row])
        p = problem(model, x0[row : row + 1], torch.tensor([0]), torch.tensor([torch.inf]), "l2")
        (end,) = conquer(ATTACKS.build(spec), model, p)
        assert end.variant == 0
        assert 0.3 * (1 - 1e-4) <= float((end.x - x0[row]).norm()) <= 0.3 * slack


@pytest.mark.parametrize(
    "spec",
    [
        "deepfool",
        "superdeepfool:steps=20,polish=5",
        "ddn:steps=20,polish=3",
        "fmn:steps=20",
        "cw:iterations=10,search_steps=3",
    ],
)
def test_the_budget_does_not_change_the_way(spec: str, problem: Callable[..., Any]) -> None:
    """States are the same bit for bit with and without a budget, alone and among other rows."""
    from robbench.engine.oracle import ModelOracle, blank_book

    model, _, x0 = _linear(4, 8, (12,))
    y = model(x0).argmax(1)
    attack: Any = ATTACKS.build(spec)

    def way(eps: float, rows: slice) -> Tensor:
        p = problem(model, x0, y, torch.full((8,), eps, dtype=torch.float64), "l2").take(rows)
        s, t, oracle = (
            attack.start(p),
            torch.zeros_like(p.y),
            ModelOracle(lambda x: torch.cat([model(r[None]) for r in x]), Tiles(8, 8)),
        )
        points = []
        for _ in range(attack.steps + 1):
            oracle.bind(p, blank_book(p), t, torch.ones_like(t, dtype=torch.bool), attack.steps)
            s = attack.step(s, t, p, oracle)
            t = t + 1
            points.append(attack.point(s))
        return torch.stack(points)

    everything = way(torch.inf, slice(None))
    assert torch.equal(everything, way(0.01, slice(None)))
    assert torch.equal(everything[:, 5:6], way(torch.inf, slice(5, 6)))
    assert torch.equal(everything[:, 1:4], way(torch.inf, slice(1, 4)))


# -- other packages, on a trained network


@pytest.fixture(scope="module")
def digits(one_thread: None) -> tuple[nn.Module, Tensor, Tensor]:
    """A small network for the digits, and some it gets right; many pixels are black."""
    datasets = pytest.importorskip("sklearn.datasets")
    bunch = datasets.load_digits()
    x, y = torch.tensor(bunch.images / 16, dtype=torch.float32)[:, None], torch.tensor(bunch.target)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
        optimiser = torch.optim.Adam(model.parameters(), 5e-3)
        for _ in range(12):
            for rows in torch.randperm(1200).split(100):
                optimiser.zero_grad()
                nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
                optimiser.step()
    model.eval().requires_grad_(False)
    x, y = x[1200:1260], y[1200:1260]
    right = model(x).argmax(1) == y
    return model, x[right], y[right]


def _median(model: nn.Module, x0: Tensor, y: Tensor, x: Tensor, norm: str) -> float:
    """The median size, where a point that is not adversarial counts as infinitely far."""
    size = NORMS[norm].size(x - x0)
    return float(torch.where(model(x).argmax(1) != y, size, torch.inf).median())


@pytest.fixture
def ours(
    digits: Any, problem: Callable[..., Any], conquer: Callable[..., Any]
) -> Callable[[str, str], float]:
    """The median size that one of our attacks finds on the digits."""
    model, x0, y = digits

    def run(spec: str, norm: str) -> float:
        p = problem(model, x0, y, torch.full((len(y),), torch.inf), norm)
        return _median(
            model,
            x0,
            y,
            torch.stack([end.x for end in conquer(ATTACKS.build(spec), model, p, width=64)]),
            norm,
        )

    return run


FOOLBOX = [
    ("deepfool", "l2", "L2DeepFoolAttack", {}),
    ("deepfool", "linf", "LinfDeepFoolAttack", {}),
    ("ddn:steps=60", "l2", "DDNAttack", {"steps": 60}),
    ("fmn:steps=60", "linf", "LInfFMNAttack", {"steps": 60}),
    ("fmn:steps=60", "l1", "L1FMNAttack", {"steps": 60}),
    ("fmn:steps=60", "l0", "L0FMNAttack", {"steps": 60}),
    (
        "cw:iterations=60,search_steps=5",
        "l2",
        "L2CarliniWagnerAttack",
        {"steps": 60, "binary_search_steps": 5},
    ),
]


@pytest.mark.parametrize(("spec", "norm", "name", "options"), FOOLBOX, ids=lambda value: str(value))
def test_not_above_foolbox(
    spec: str, norm: str, name: str, options: dict[str, int], digits: Any, ours: Any
) -> None:
    """At the same number of steps our median is at most 1% above foolbox's."""
    foolbox = pytest.importorskip("foolbox")
    model, x0, y = digits
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
        x = getattr(foolbox.attacks, name)(**options)(theirs, x0, y, epsilons=None)[0]
    assert ours(spec, norm) <= 1.01 * _median(model, x0, y, x, norm)


@pytest.mark.parametrize(
    ("spec", "name"), [("deepfool", "DeepFool"), ("cw:iterations=60,search_steps=1,c=1", "CW")]
)
def test_not_above_torchattacks(spec: str, name: str, digits: Any, ours: Any) -> None:
    """Likewise torchattacks; many of its points are not adversarial at all."""
    torchattacks = pytest.importorskip("torchattacks")
    model, x0, y = digits
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        attack = (
            torchattacks.DeepFool(model)
            if name == "DeepFool"
            else torchattacks.CW(model, c=1, steps=60)
        )
        x = attack(x0, y)
    assert ours(spec, "l2") <= 1.01 * _median(model, x0, y, x, "l2")


@pytest.mark.parametrize("norm", ["l2", "linf", "l1", "l0", "ddn"])
def test_not_above_adv_lib(norm: str, digits: Any, ours: Any) -> None:
    """Likewise adv-lib, without its rounding to 256 levels."""
    attacks = pytest.importorskip("adv_lib.attacks")
    model, x0, y = digits
    if norm == "ddn":
        x, spec, norm = attacks.ddn(model, x0, y, steps=60, levels=None), "ddn:steps=60", "l2"
    else:
        order = {"l2": 2, "linf": float("inf"), "l1": 1, "l0": 0}[norm]
        x, spec = attacks.fmn(model, x0, y, norm=order, steps=60), "fmn:steps=60"
    assert ours(spec, norm) <= 1.01 * _median(model, x0, y, x, norm)
