"""Entries that may not change: every attack keeps them, and linear models have known verdicts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from robbench.attacks.base import AttackEntry, Backend
from robbench.catalogue.builtins import ATTACKS
from robbench.core.tiles import Tiles
from robbench.data.base import Split
from robbench.engine.backend import attempts_of
from robbench.engine.evaluate import evaluate
from robbench.engine.schedule import Trial
from robbench.testing.toys import toy_model, toy_split
from robbench.threat.model import parse_threat
from robbench.threat.norms import NORMS
from robbench.threat.problem import Problem

from .short_specs import BACKENDS, budgets, equipped, short_specs

pytestmark = pytest.mark.usefixtures("one_thread")

FREE = torch.arange(36).reshape(1, 6, 6) % 3 > 0
EPS = {"linf": 0.1, "l2": 0.8, "l1": 3.0, "l0": 6, "l0px": 6}


class Watching(nn.Module):
    """A model that notes whether it was ever shown fixed entries other than 0.25."""

    def __init__(self) -> None:
        super().__init__()
        self.model = toy_model()
        self.queries = 0
        self.kept = True
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        self.queries += len(x)
        self.kept &= bool((x[:, ~FREE] == 0.25).all())
        logits: Tensor = self.model(x)
        return logits


def _rows(problem: Callable[..., Any], norm: str, eps: float) -> tuple[Watching, Problem]:
    model, split = Watching(), toy_split(8)
    x0 = torch.where(FREE, split.pixels(slice(None)), torch.tensor(0.25))
    p = problem(model, x0, model(x0).argmax(1), torch.full((8,), float(eps)), norm)
    return model, p.replace(free=FREE.expand_as(x0))


@pytest.mark.parametrize(("spec", "norm"), short_specs())
def test_every_attack_keeps_them(
    spec: str, norm: str, problem: Callable[..., Any], conquer: Callable[..., Any]
) -> None:
    """No query of any start, restart or step shows the model another fixed entry."""
    attack = equipped(spec)
    for eps in budgets(attack, EPS[norm]):
        model, p = _rows(problem, norm, eps)
        endings = conquer(attack, model, p)
        assert model.queries > len(p)
        assert model.kept
        assert all(
            torch.equal(ending.x[~FREE], x0[~FREE])
            for ending, x0 in zip(endings, p.x0, strict=True)
        )


@pytest.mark.parametrize("spec", BACKENDS)
def test_attacks_of_other_packages_keep_them(spec: str, problem: Callable[..., Any]) -> None:
    """A backend is shown a model that does not see other entries, and its points are put back."""
    pytest.importorskip(spec.partition(":")[0].replace("-", "_"))
    model, p = _rows(problem, "l2" if "fmn" in spec else "linf", 0.1)
    if "fmn" in spec:
        p = p.replace(eps=torch.full_like(p.eps, torch.inf))
    attack = ATTACKS.build(spec)
    assert isinstance(attack, Backend)
    attempts = attempts_of(
        attack, model, p, list(range(len(p))), Trial(0, 0, 0), seed=0, tiles=Tiles(8, 1)
    )
    assert model.kept
    assert sum(attempt.shown for attempt in attempts) > 0
    for attempt, x0 in zip(attempts, p.x0, strict=True):
        assert attempt.judged is not None
        assert attempt.judged.fits
        assert torch.equal(attempt.x[~FREE], x0[~FREE])


class Plane(nn.Module):
    """Two classes on the sides of w . (x - 1/2) = 0."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.w = nn.Parameter(torch.randn(12, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        z = (x - 0.5) @ self.w
        return torch.stack([-z, z], 1)


def _reach(w: Tensor, x: Tensor, toward: Tensor, norm: str, eps: float) -> Tensor:
    """[N]: how far w . x can go to the side `toward` [N] with the entries of w that are not 0."""
    if norm == "l0":  # whole entries go to the face of the box
        room = torch.where((w * toward[:, None]) > 0, 1 - x, x)
        return (w.abs() * room).sort(1, descending=True).values[:, : int(eps)].sum(1)
    dual = {"linf": 1, "l2": 2, "l1": torch.inf}[norm]
    return torch.full((len(x),), eps * float(torch.linalg.vector_norm(w, ord=dual)))


@pytest.mark.few(3)
@pytest.mark.parametrize(
    ("norm", "eps", "spec"),
    [
        ("linf", 0.04, "apgd:objective=margin"),
        ("linf", 0.04, "pgd:steps=40,rate=0.1"),
        ("linf", 0.04, "fab"),
        ("l2", 0.2, "apgd:objective=margin"),
        ("l2", 0.2, "ddn:steps=200"),
        ("l2", 0.2, "fab"),
        ("l1", 0.25, "apgd:objective=margin"),
        ("l1", 0.25, "fab"),
        ("l0", 1, "minimal:attack=(fgsm)"),
    ],
)
def test_a_linear_model_has_the_verdicts_of_its_free_entries(
    norm: str, eps: float, spec: str
) -> None:
    """Broken where the gap is below the reach of the free entries, by 2 % at least; else not.

    The largest weights are fixed, so that the reach of all entries gives other verdicts.
    """
    model = Plane()
    w = model.w.detach()
    free = w.abs() < w.abs().sort().values[-4]
    generator = torch.Generator().manual_seed(2)
    x = 0.25 + 0.5 * torch.rand(200, 12, generator=generator)
    z = (x - 0.5) @ w
    labels = (z > 0).long()
    held = _reach(w * free, x, -z.sign(), norm, eps)
    whole = _reach(w, x, -z.sign(), norm, eps)
    clear = (z.abs() / held - 1).abs() > 0.02
    x, labels, held, whole, z = (part[clear][:60] for part in (x, labels, held, whole, z))
    split = Split(x, labels, torch.arange(len(x)), ("a", "b"), "plane", "test", free=free)

    def broken(samples: Split) -> Tensor:
        entry = AttackEntry(spec, ATTACKS.build(spec))
        (threat,) = parse_threat(f"{norm}:{eps}")
        found = evaluate(model, samples, threat, [entry], seed=0, width=32).verdicts
        return torch.tensor([verdict.adversarial for verdict in found])

    assert torch.equal(broken(split), z.abs() < held)
    without = broken(dataclasses.replace(split, free=None))
    assert bool((without & (z.abs() > held)).any())
    assert not bool((without & (z.abs() > whole)).any())
    assert 5 < int((z.abs() < held).sum()) < 55


def test_random_starts_use_the_whole_budget(problem: Callable[..., Any]) -> None:
    """With most entries fixed, points of the sphere are still eps away."""
    free = torch.zeros(1, 6, 6, dtype=torch.bool)
    free[0, 0, :3] = True
    for norm, eps in (("l2", 0.1), ("l1", 0.1), ("linf", 0.1), ("l0", 2)):
        _, p = _rows(problem, norm, eps)
        p = p.replace(x0=torch.full_like(p.x0, 0.5), free=free.expand_as(p.x0))
        x = p.ball.on_sphere()
        assert torch.equal(x[:, ~free], p.x0[:, ~free])
        size = NORMS[norm].size(x - p.x0)
        if norm in ("linf", "l2", "l1"):
            assert torch.allclose(size, p.eps, rtol=1e-4)
        assert bool((size > 0).all())
        assert bool((NORMS[norm].size(p.ball.uniform() - p.x0) <= p.eps * 1.0001).all())


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_random_starts_fill_the_ball_of_the_free_entries(norm: str) -> None:
    """Its radius to the power of how many are free is uniform, whatever number is fixed."""
    x0, rows = torch.full((4000, 12), 0.5, dtype=torch.float64), torch.arange(4000)
    free = (torch.arange(12) < torch.where(rows < 2000, 2, 3)[:, None]).expand_as(x0)
    p = Problem.of(x0, rows * 0, 0.2, NORMS[norm], free=free)
    radius = NORMS[norm].size(p.ball.uniform() - x0) / 0.2
    for part, entries in ((radius[:2000], 2), (radius[2000:], 3)):
        assert stats.kstest((part**entries).numpy(), "uniform").pvalue > 0.001
