"""Attacks under a targeted threat model, on linear models whose targeted distance is known.

The region of class t of a linear model is the polytope z_t >= z_k of K-1 half-spaces. For two
classes its distance is that to one hyperplane. For more, it is at least the largest of the K-1
distances, and equal to it where the foot of the perpendicular on that hyperplane is inside of the
others; rows are chosen to be so.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from robbench.attacks.base import AnyAttack
from robbench.catalogue.builtins import ATTACKS
from robbench.core.tiles import Tiles
from robbench.engine.lane import Job, Lane
from robbench.threat.norms import find_norm
from robbench.threat.problem import Problem

pytestmark = pytest.mark.usefixtures("one_thread")

CLASSES, ENTRIES, ROWS = 5, 12, 24
DUAL = {"linf": 1, "l2": 2}
MARGIN = [
    "pgd:steps=100,rate=0.1,objective=margin",
    "pgd:steps=100,rate=0.1,objective=dlr",
    "a3:rounds=3",
    "apgd-dlr",
    "apgd-t",
    "apgd:objective=margin",
    "pma:steps=100",
    "tsta",
]
SOFT = ["pgd:steps=100,rate=0.1", "pgd:steps=100,rate=0.1,objective=soft-margin", "apgd"]
"""They push all other classes down at once, which is not the shortest way past the last of them."""
SMALLEST = {
    "linf": {"fab": 1.02, "fab-t": 1.02, "fmn:steps=300": 1.001},
    "l2": {
        "fab": 1.02,
        "fab-t": 1.02,
        "fmn:steps=300": 1.001,
        "ddn:steps=300": 1.4,  # it climbs cross-entropy
        "cw:iterations=200,rate=0.02": 1.8,
    },
}


class Linear(NamedTuple):
    """A linear model in float32, points far from the box's faces, and their exact distances."""

    model: nn.Module
    x0: Tensor
    y: Tensor
    target: Tensor
    distance: Tensor


def _linear(norm: str, classes: int) -> Linear:
    generator = torch.Generator().manual_seed(classes)
    weight = torch.randn(classes, ENTRIES, generator=generator, dtype=torch.float64)
    x0 = 0.45 + 0.1 * torch.rand(4000, ENTRIES, generator=generator, dtype=torch.float64)
    bias = -(weight @ torch.full((ENTRIES,), 0.5, dtype=torch.float64))
    z = x0 @ weight.T + bias
    y, target = z.argmax(1), z.argmin(1)
    difference = weight[None] - weight[target][:, None]  # [N,K,D] of z_k - z_t
    gap = z - z.gather(1, target[:, None])
    steepness = torch.linalg.vector_norm(difference, ord=DUAL[norm], dim=2).clamp(min=1e-30)
    distance, k = (gap / steepness).max(1)
    w = difference[torch.arange(len(z)), k]
    step = w.sign() if norm == "linf" else w / w.norm(dim=1, keepdim=True)
    foot = x0 - 1.0001 * distance[:, None] * step
    reached = (foot @ weight.T + bias).argmax(1) == target
    inside = ((foot > 0) & (foot < 1)).all(1)
    rows = (reached & inside & (y != target)).nonzero().flatten()[:ROWS]
    assert len(rows) == ROWS
    model = nn.Linear(ENTRIES, classes)
    with torch.no_grad():
        model.weight.copy_(weight)
        model.bias.copy_(bias)
    return Linear(
        model.eval().requires_grad_(False),
        x0[rows].float(),
        y[rows],
        target[rows],
        distance[rows].float(),
    )


def _sizes(spec: str, case: Linear, norm: str, eps: Tensor) -> Tensor:
    """[N] size of the targeted success found, inf where there is none."""
    attack: Any = ATTACKS.build(spec)
    assert attack.can_target
    n = len(case.y)
    p = Problem.of(
        case.x0,
        case.y,
        eps,
        find_norm(norm),
        key=torch.arange(n) * 7919 + 1,
        logits0=case.model(case.x0),
        target=case.target,
    )
    lane = Lane(
        attack,
        case.model,
        lambda jobs: p.take(torch.tensor([job.sample for job in jobs])),
        width=n,
        tiles=Tiles(max(n, 8), 8),
        device=torch.device("cpu"),
    )
    best = torch.full((n,), torch.inf)
    for k in range(attack.variants(2)):
        lane.queue.extend(Job(i, k) for i in range(n))
    while lane.waiting:
        if (done := lane.step()) is None:
            continue
        for row, job in enumerate(done.jobs):
            if not done.book.found[row]:
                continue
            z = case.model(done.book.x[row][None])[0]
            assert float(z.max() - z[case.target[job.sample]]) < 1e-5  # a tie may round otherwise
            best[job.sample] = torch.minimum(best[job.sample], done.book.size[row])
    return best


@pytest.mark.few(12)
@pytest.mark.parametrize("spec", [*MARGIN, *SOFT])
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("classes", [2, CLASSES])
def test_a_budget_just_above_the_distance_is_enough_and_one_just_below_is_not(
    spec: str, norm: str, classes: int
) -> None:
    """Whatever the attack climbs, it reaches the target's polytope, and nothing can before."""
    case = _linear(norm, classes)
    factor = 1.02 if classes == 2 else 1.4 if spec in SOFT else 1.05
    assert torch.isfinite(_sizes(spec, case, norm, factor * case.distance)).all()
    assert torch.isinf(_sizes(spec, case, norm, 0.99 * case.distance)).all()


@pytest.mark.few(4)
@pytest.mark.parametrize(
    ("norm", "spec", "factor"),
    [(norm, spec, factor) for norm, specs in SMALLEST.items() for spec, factor in specs.items()],
)
def test_the_smallest_perturbation_to_the_target(norm: str, spec: str, factor: float) -> None:
    """Never less than the exact distance, and within a few per cent of it."""
    case = _linear(norm, CLASSES)
    found = _sizes(spec, case, norm, torch.full_like(case.distance, torch.inf)) / case.distance
    assert float(found.min()) > 0.999
    assert float(found.max()) < factor


def test_another_mistake_is_no_success() -> None:
    """Three classes, the target behind the second: leaving the label is not enough."""
    model = nn.Linear(1, 3)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[-10.0], [0.0], [20.0]]))
        model.bias.copy_(torch.tensor([3.0, 0.0, -14.0]))  # class 1 from 0.3 on, class 2 from 0.7
    case = Linear(
        model.requires_grad_(False),
        torch.full((1, 1), 0.2),
        torch.tensor([0]),
        torch.tensor([2]),
        torch.tensor([0.5]),
    )
    for spec in ("pgd:steps=40", "apgd-t", "noise:steps=20"):
        assert torch.isinf(_sizes(spec, case, "linf", torch.tensor([0.4]))).all()
        assert torch.isfinite(_sizes(spec, case, "linf", torch.tensor([0.7]))).all()


@pytest.mark.parametrize("spec", ["apgd-t:targets=3", "fab-t:targets=3", "apgd-t:restarts=2"])
def test_there_is_one_variant_per_restart_and_it_keeps_the_target(spec: str) -> None:
    """The attack's own choice of targets is not asked for."""
    case = _linear("linf", CLASSES)
    attack: Any = ATTACKS.build(spec)
    assert attack.variants(2) == attack.restarts
    p = Problem.of(
        case.x0,
        case.y,
        0.1,
        find_norm("linf"),
        logits0=case.model(case.x0),
        target=case.target,
    )
    for k in range(attack.restarts):
        assert torch.equal(attack.vary(p, torch.full_like(p.y, k)).target, case.target)


def test_which_attacks_can_seek_a_target() -> None:
    """Those whose paper has such a form or that climb an objective; wrappers as what they wrap."""
    can = ["fgsm", "pgd", "apgd", "pma", "mi-fgsm", "fab", "square", "cw", "ddn", "fmn", "noise"]
    can += ["tsta", "sigma-zero", "a3", "minimal", "eot", "transfer:source=x"]
    cannot = [
        "deepfool",
        "hopskipjump",
        "pyautoattack",
        "pgd:objective=kl-from-clean",
        "eot:attack=(pgd:objective=kl-from-clean)",
    ]
    found: dict[str, AnyAttack] = {spec: ATTACKS.build(spec) for spec in [*can, *cannot]}
    assert [spec for spec, attack in found.items() if attack.can_target] == can
