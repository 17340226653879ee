"""The inner maximisation of a recipe."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from robbench.attacks.fgsm import FGSM
from robbench.attacks.pgd import PGD
from robbench.catalogue.builtins import ATTACKS
from robbench.core.errors import UserError
from robbench.losses.trades import TRADES
from robbench.threat.model import parse_threat
from robbench.threat.problem import Problem
from robbench.training import step as step_module
from robbench.training.inner import Inner, require_inside
from robbench.training.step import TrainStep
from robbench.training.trainer import Trainer


@pytest.mark.parametrize(
    ("progress", "eps"), [(0.0, 0.0), (0.125, 0.025), (0.25, 0.05), (0.5, 0.1), (1.0, 0.1)]
)
def test_the_budget_grows_in_the_warm_up(split, threat, plain_model, progress, eps):
    """With warmup=0.5 the adversaries of an attack with long steps lie at 2 progress eps, later at
    eps.
    """
    inner = Inner(PGD(steps=3, rate=1.0), threat, warmup=0.5)
    x, index = split.pixels(slice(None)), torch.arange(len(split))
    step = TrainStep(
        plain_model(),
        x,
        split.labels,
        index,
        key=split.ids,
        inner=inner,
        epoch=0,
        progress=progress,
    )
    assert step.eps == pytest.approx(eps)
    assert float((step.adversary().x - x).abs().max()) == pytest.approx(eps, abs=1e-6)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Leaves(PGD):
    """A private attack whose points are moved by some of the budget, out of the ball."""

    by: float = 2.0

    def point(self, s):
        return super().point(s) + self.by * self.rate


def _adversary(split, model, attack, threat, progress=1.0, **settings):
    inner = Inner(attack, threat, **settings)
    x, index = split.pixels(slice(None)), torch.arange(len(split))
    step = TrainStep(
        model, x, split.labels, index, key=split.ids, inner=inner, epoch=0, progress=progress
    )
    return step.adversary(inner.attack.objective).x


@pytest.mark.parametrize("by", [-2.0, 1e-3, 2.0, torch.nan])
def test_a_private_attack_outside_of_the_threat_model_is_refused(split, threat, plain_model, by):
    """Training with points of another threat model would say nothing of this one."""
    with pytest.raises(UserError, match=r"attack _Leaves: \d+ of 24 points .* where eps is 0\.1,"):
        _adversary(split, plain_model(), _Leaves(steps=2, rate=1.0, by=by), threat)


def test_how_far_outside_is_said(threat):
    """The number of points, the largest size and the entries; the box counts as the ball does."""
    x0 = torch.tensor([[0.5, 0.5], [0.95, 0.5], [0.5, 0.5]])
    moved = x0 + torch.tensor([[0.1, -0.1], [0.08, 0.0], [-0.25, 0.1]])
    p = Problem.of(x0, torch.zeros(3, dtype=torch.long), threat.eps, threat.norm)
    said = r"2 of 3 .* up to 0\.25 where eps is 0\.1, with entries from 0\.25 to 1\.03 where"
    with pytest.raises(UserError, match=said):
        require_inside(PGD(), moved, p)


def test_n_fgsm_leaves_the_ball_on_purpose(split, threat, plain_model):
    """Its points lie outside, as in the paper, and training goes on."""
    x = _adversary(split, plain_model(), FGSM(noise=2.0, clip=False), threat)
    assert float((x - split.pixels(slice(None))).abs().max()) > 0.15


@pytest.mark.parametrize("beyond", [None, 1])
@pytest.mark.parametrize("progress", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("threat_text", ["linf:0.1", "linf:1e-6", "l2:0.5", "l1:2", "l0:3"])
@pytest.mark.parametrize(
    "spec", ["pgd:steps=3", "apgd:steps=3", "fgsm:noise=1,rate=1.25", "mi-fgsm:steps=3"]
)
def test_built_in_attacks_stay_inside(split, plain_model, spec, threat_text, progress, beyond):
    """In every norm, also where the budget is still small or rows stop early."""
    attack, (threat,) = ATTACKS.build(spec), parse_threat(threat_text)
    if threat.norm_name in attack.norms:
        x = _adversary(split, plain_model(), attack, threat, progress, warmup=0.5, beyond=beyond)
        assert x.shape == split.pixels(slice(None)).shape


def test_points_are_looked_at_once_in_an_epoch(
    split, validation, threat, recipe, plain_model, monkeypatch
):
    """Each look makes the host wait for a GPU; weight perturbation repeats none."""
    seen = []
    monkeypatch.setattr(
        step_module, "require_inside", lambda *given: seen.append(1) or require_inside(*given)
    )
    trainer = Trainer(
        plain_model(),
        TRADES(),
        split,
        validation,
        recipe(epochs=2, batch_size=6, awp=0.01),
        inner=Inner(PGD(steps=1, objective="kl-from-clean", init="gaussian"), threat),
        threat=threat,
    )
    for _ in range(2):
        trainer.run_epoch(lambda _: None)
    assert len(seen) == 2
