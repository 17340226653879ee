"""Linear models with known distances: |margin| over the dual norm of the weight difference.

Every attack that climbs straight to it must succeed with 1.01 times that budget, and none may
succeed with 0.99 times it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import robbench
from robbench.catalogue.builtins import ATTACKS

pytestmark = pytest.mark.usefixtures("one_thread")

DIMENSION = 12
DUAL_ORDER = {"linf": 1, "l2": 2}
# rate=0.1 of a hundred steps, because a random start needs more than the usual 2.5 eps of path to
# turn within 1% in l2.
TWO_CLASSES = [
    "fgsm",
    "fgsm:objective=margin",
    "fgsm:objective=dlr",
    "pgd:steps=100,rate=0.1",
    "pgd:steps=100,rate=0.1,objective=margin",
    "pgd:steps=40,init=clean",
    "pgd:steps=100,rate=0.1,objective=dlr",
    "apgd",
    "a3:rounds=3",
    "apgd-dlr",
    "apgd-t",
    "apgd:objective=margin",
]
MANY_CLASSES = [
    "pgd:steps=100,rate=0.1",
    "pgd:steps=100,rate=0.1,objective=margin",
    "pgd:steps=100,rate=0.1,objective=dlr",
    "apgd",
    "a3:rounds=3",
    "apgd-dlr",
    "apgd-t",
    "apgd:objective=margin",
]


def _two_classes(seed: int, rows: int) -> tuple[Tensor, Tensor]:
    """Weights [2,D], and points near the middle of the box on both sides of w.x = 0."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(2, DIMENSION, generator=generator, dtype=torch.float64)
    x0 = 0.45 + 0.1 * torch.rand(rows, DIMENSION, generator=generator, dtype=torch.float64)
    return weight, _moved(
        x0,
        weight[0] - weight[1],
        torch.empty(rows, dtype=torch.float64).uniform_(-0.5, 0.5, generator=generator),
    )


def _moved(x: Tensor, w: Tensor, value: Tensor) -> Tensor:
    """The points nearest to x where w . (x - 1/2) has the given values."""
    return x + ((value - (x - 0.5) @ w) / (w @ w))[:, None] * w


def _distance(z: Tensor, y: Tensor, weight: Tensor, norm: str) -> Tensor:
    """[B]: the nearest of the K-1 boundaries, each at (z_y - z_k) / dual norm of (w_y - w_k)."""
    gap = z.gather(1, y[:, None]) - z
    steepness = torch.linalg.vector_norm(
        weight[y][:, None] - weight[None], ord=DUAL_ORDER[norm], dim=2
    )
    return (
        (gap / steepness.clamp(min=1e-30))
        .masked_fill(torch.nn.functional.one_hot(y, z.shape[1]).bool(), torch.inf)
        .amin(1)
    )


@pytest.mark.few(10)
@pytest.mark.parametrize("spec", TWO_CLASSES)
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_two_classes(
    spec: str,
    norm: str,
    dtype: torch.dtype,
    problem: Callable[..., Any],
    conquer: Callable[..., Any],
) -> None:
    """Two classes: one steepest direction, found at 1.01 of the distance, never at 0.99."""
    weight, x0 = (part.to(dtype) for part in _two_classes(1, 16))

    def model(x: Tensor) -> Tensor:
        return (x - 0.5) @ weight.T + 1.0

    y = model(x0).argmax(1)
    assert set(y.tolist()) == {0, 1}
    distance = _distance(model(x0), y, weight, norm)
    assert bool(
        ((distance > 1e-3) & (1.01 * distance < torch.minimum(x0, 1 - x0).amin(1))).all()
    )  # no face of the box is reached
    attack = ATTACKS.build(spec)
    for share, expected in ((1.01, True), (0.99, False)):
        p = problem(model, x0, y, share * distance, norm)
        endings = conquer(attack, model, p)
        assert [ending.variant is not None for ending in endings] == [expected] * len(endings)
        for row, ending in enumerate(endings):
            assert (model(ending.x[None]).argmax(1)[0] != p.y[row]) == expected


def test_fgsm_needs_one_step(problem: Callable[..., Any], conquer: Callable[..., Any]) -> None:
    """FGSM's only new point is x0 + eps sign(w) (in l2 eps w/|w|), found at step 1."""
    weight, x0 = _two_classes(2, 16)

    def model(x: Tensor) -> Tensor:
        return (x - 0.5) @ weight.T

    y = model(x0).argmax(1)
    for norm in ("linf", "l2"):
        distance = _distance(model(x0), y, weight, norm)
        endings = conquer(
            ATTACKS.build("fgsm"), model, problem(model, x0, y, 1.01 * distance, norm)
        )
        away = weight[1 - y] - weight[y]
        unit = away.sign() if norm == "linf" else away / away.norm(dim=1, keepdim=True)
        for row, ending in enumerate(endings):
            assert ending.step == 1
            assert torch.allclose(ending.x, x0[row] + 1.01 * distance[row] * unit[row], atol=1e-12)


@pytest.mark.few(10)
@pytest.mark.parametrize("spec", MANY_CLASSES)
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("classes", [3, 6])
def test_many_classes(
    spec: str, norm: str, classes: int, problem: Callable[..., Any], conquer: Callable[..., Any]
) -> None:
    """With a clear runner-up in the whole ball, every objective climbs to its boundary.

    (Cross-entropy climbs towards the mean of the wrong classes, so without a clear runner-up its
    optimum is another one.)
    """
    generator = torch.Generator().manual_seed(classes)
    weight = torch.randn(classes, DIMENSION, generator=generator, dtype=torch.float64)
    x0 = 0.45 + 0.1 * torch.rand(10, DIMENSION, generator=generator, dtype=torch.float64)
    first, second = classes - 1, classes // 3
    x0 = _moved(
        x0, weight[first] - weight[second], torch.linspace(-0.5, 0.5, 10, dtype=torch.float64)
    )
    bias = -60 + 3 * torch.rand(classes, generator=generator, dtype=torch.float64)
    bias[[first, second]] = 0.0

    def model(x: Tensor) -> Tensor:
        return (x - 0.5) @ weight.T + bias

    y = model(x0).argmax(1)
    assert set(y.tolist()) == {first, second}
    distance = _distance(model(x0), y, weight, norm)
    steepness = torch.linalg.vector_norm(weight[first] - weight[second], ord=DUAL_ORDER[norm])
    assert torch.allclose(
        distance, torch.linspace(-0.5, 0.5, 10, dtype=torch.float64).abs() / steepness
    )
    for share, expected in ((1.01, True), (0.99, False)):
        endings = conquer(ATTACKS.build(spec), model, problem(model, x0, y, share * distance, norm))
        assert [ending.variant is not None for ending in endings] == [expected] * 10


@pytest.mark.few(2)
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("classes", [3, 5, 7])
def test_targets_find_the_nearest_boundary_of_all(
    norm: str, classes: int, problem: Callable[..., Any], conquer: Callable[..., Any]
) -> None:
    """apgd-t tries each class, so it finds the nearest of K-1 random boundaries.

    Never below the distance; the variant that succeeds is a class whose boundary is inside the
    budget.
    """
    generator = torch.Generator().manual_seed(10 + classes)
    weight = torch.randn(classes, DIMENSION, generator=generator, dtype=torch.float64)
    weight *= torch.linspace(0.3, 2, classes, dtype=torch.float64)[
        :, None
    ]  # unequal steepness: likeliest and nearest differ
    x0 = 0.4 + 0.2 * torch.rand(24, DIMENSION, generator=generator, dtype=torch.float64)

    def model(x: Tensor) -> Tensor:
        return (x - 0.5) @ weight.T

    y = model(x0).argmax(1)
    distance = _distance(model(x0), y, weight, norm)
    assert float(distance.max()) < 0.3
    attack = ATTACKS.build("apgd-t:steps=100")
    none = conquer(attack, model, problem(model, x0, y, 0.99 * distance, norm))
    assert all(ending.variant is None for ending in none)
    found = conquer(attack, model, problem(model, x0, y, 1.01 * distance, norm))
    assert all(ending.variant is not None for ending in found), [
        row for row, e in enumerate(found) if e.variant is None
    ]
    assert any(ending.variant > 0 for ending in found)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("attack", ["apgd", "pgd:steps=10"])
def test_rows_close_to_the_boundary_of_two_classes(norm: str, attack: str) -> None:
    """A small gap is no sign of small logits: scaled up, cross-entropy would have no gradient."""
    weight, x0 = (part.float() for part in _two_classes(3, 64))
    away = weight[0] - weight[1]
    x0 = _moved(x0, away, torch.linspace(-1e-3, 1e-3, 64))
    model = torch.nn.Linear(DIMENSION, 2)
    with torch.no_grad():
        model.weight.copy_(weight)
        model.bias.copy_(-weight.sum(1) / 2)
    y = model(x0).detach().argmax(1)
    eps = 0.05 * float(torch.linalg.vector_norm(away, ord=DUAL_ORDER[norm])) ** -1
    found = robbench.evaluate(model, x0, y, threat=f"{norm}:{eps:.6g}", attack=attack)
    assert found.samples["adversarial"].all()  # each is within a fiftieth of eps
