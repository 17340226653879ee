"""Each check of a model passes on a linear classifier and fails on one that is spoilt in the way it looks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robbench.checks import (
    adversarial_points,
    budget,
    gradients,
    outputs,
    run_rows,
    stronger_attacks,
    trajectory,
)
from robbench.checks.base import Check, run_checks
from robbench.checks.broken_defences import DEFENCES, Defence, defended
from robbench.checks.probes import PROBE
from robbench.checks.registry import CHECKS

WEAK = "pgd:steps=2,rate=0.05"


def noisy(x: Tensor) -> Tensor:
    return x + 0.05 * torch.randn_like(x)


class _Sparse(torch.autograd.Function):
    """The identity; a fifth of its gradient, elsewhere at each point."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        order = x.flatten(1).sum(1, keepdim=True) * 1e3 * torch.arange(1, grad[0].numel() + 1)
        return grad * (order.frac().reshape(grad.shape) > 0.8)


def slow(x: Tensor) -> Tensor:
    return _Sparse.apply(x)


def grid(x: Tensor) -> Tensor:
    return (x * 20).round() / 20


def misled(x: Tensor) -> Tensor:
    return DEFENCES["misleading gradient"][0](x)


def purified(x: Tensor) -> Tensor:
    return DEFENCES["purified input"][0](x)


def infinite_slope(x: Tensor) -> Tensor:
    """The same values; the derivative is infinite times zero."""
    return x + 0 * (x - x.detach()).sqrt()


BAD = {  # check -> (function, what comes before the classifier, its scale)
    "zero-eps": (budget.zero_eps, noisy, 1),
    "huge-eps": (budget.huge_eps, Tensor.detach, 1),
    "unmoved": (run_rows.unmoved, Tensor.detach, 1),
    "random": (outputs.random, noisy, 1),
    "batch-width": (outputs.batch_width, lambda x: x - x.mean(0), 1),
    "dynamic": (outputs.dynamic, purified, 1),
    "no-gradient": (gradients.no_gradient, Tensor.detach, 1),
    "non-finite-gradient": (gradients.non_finite, infinite_slope, 1),
    "zero-gradient": (gradients.zero, grid, 1),
    "vanishing": (gradients.vanishing, None, 180),
    "finite-difference": (gradients.slope, misled, 1),
    "finite-difference of a constant": (gradients.slope, grid, 1),
    "progress": (trajectory.progress, misled, 1),
    "incomplete": (trajectory.incomplete, slow, 1),
    "silent-success": (trajectory.silent_success, noisy, 1),
    "random-noise": (stronger_attacks.noise, Tensor.detach, 1),
    "black-box": (stronger_attacks.black_box, Tensor.detach, 1),
    "labels-only": (stronger_attacks.labels_only, Tensor.detach, 1),
    "transfer": (stronger_attacks.transfer, Tensor.detach, 1),
    "quantised": (adversarial_points.quantised, noisy, 1),
}


@pytest.mark.parametrize("name", BAD)
def test_a_check_tells_a_spoilt_model_from_a_good_one(
    name: str, linear: type[nn.Module], evidence: Callable
) -> None:
    """The same samples, labels and threat: only what is looked for differs."""
    check, before, scale = BAD[name]
    good = check(evidence(linear(), source=linear()))
    bad = check(evidence(linear(before, scale), source=linear()))
    assert (good.failed, bad.failed) == (False, True), (good, bad)
    assert good.figure <= good.threshold < bad.figure
    assert len(bad.evidence) > len(good.evidence) or name == "dynamic"


@pytest.mark.parametrize("check", [stronger_attacks.loss_gap, stronger_attacks.logit_scale])
def test_cross_entropy_that_climbs_towards_a_crowd_is_noticed(
    check: Callable, crowded: tuple, evidence: Callable
) -> None:
    """Of 30 within reach most stand cross-entropy, and fall on other scales and to the margin; at ten times the scale
    nothing is wrong.
    """
    model, split = crowded
    bad, good = check(evidence(model(1), split)), check(evidence(model(10), split))
    assert (bad.failed, good.failed, good.figure) == (True, False, 0.0)
    assert 0.4 < bad.figure == len(bad.evidence) / 60 <= 0.5


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 0.3, 40, 1e3, 1e6])
def test_an_attack_does_not_depend_on_an_extreme_scale(
    scale: float, crowded: tuple, linear, evidence: Callable
) -> None:
    """Exactly those within reach fall to cross-entropy, in closed form; without rescaling it finds none of tiny logits."""
    model, split = crowded
    within = linear().score(split.images).abs() < 0.05 * linear().w.abs().sum()
    assert torch.equal(evidence(model(scale), split).probe(PROBE).found, within)
    assert int(within.sum()) == 30


def test_probabilities_are_no_logits(linear: type[nn.Module], evidence: Callable) -> None:
    """Softmax and log-softmax are told from logits, and from each other."""
    good = linear()
    assert outputs.logits(evidence(good)).failed is False
    for name in ("probabilities", "log-probabilities"):
        reading = outputs.logits(evidence(defended(good)[name]))
        assert reading.failed is True
        assert f"are {name}:" in reading.text


CHALLENGERS = {
    "single-step": stronger_attacks.single_step,
    "random-noise": stronger_attacks.noise,
    "step-size": stronger_attacks.step_size,
    "steps-doubled": stronger_attacks.steps_doubled,
    "restarts": stronger_attacks.restarts,
    "black-box": stronger_attacks.black_box,
    "labels-only": stronger_attacks.labels_only,
    "transfer": stronger_attacks.transfer,
}


@pytest.mark.parametrize("name", CHALLENGERS)
def test_a_challenger_finds_what_a_weak_attack_leaves(
    name: str, linear: type[nn.Module], evidence: Callable
) -> None:
    """On a model that is not to blame: what the challenger breaks is named, and is within reach in closed form."""
    weak = {
        "random-noise": "noise:steps=1",
        "labels-only": "noise:steps=1",
        "steps-doubled": "pgd:steps=4,rate=0.15",
    }.get(name, WEAK)
    e = evidence(linear(), attack=weak, source=linear())
    reading = CHALLENGERS[name](e)
    assert reading.failed is True, reading
    reach = 0.05 * linear().w.abs().sum()
    within = linear().score(e.answers.x).abs() <= reach * 1.0001
    assert set(reading.evidence) <= set(e.ids(within & e.standing))
    assert len(reading.evidence) == round(reading.figure * 60)


def test_twice_the_steps_are_of_the_attack_in_question(
    linear: type[nn.Module], evidence: Callable
) -> None:
    """A weak attack's own settings are kept, its steps doubled; an attack without gradients is passed over."""
    assert (
        f"{WEAK.replace('steps=2', 'steps=4')}"
        in stronger_attacks.steps_doubled(evidence(linear(), attack=WEAK)).text
    )
    assert (
        "pgd)" in stronger_attacks.steps_doubled(evidence(linear(), attack="noise:steps=1")).text
    )  # 40 steps are pgd's default


def test_a_sample_lost_at_a_larger_budget_is_noticed(
    linear: type[nn.Module], evidence: Callable, split
) -> None:
    """A narrow valley: short steps land in it, those of larger budgets jump over it."""

    class Valley(linear):
        def forward(self, x: Tensor) -> Tensor:
            depth = (
                self.score(x) - 0.25
            ).abs() - 0.03  # steps at half of 0.05: 0.0625 of the score
            return torch.stack([depth, torch.zeros_like(depth)], 1)

    model = Valley()
    near = (model.score(split.images) > 0.3) & (model.score(split.images) < 0.7)
    of = split.take(near.nonzero()[:, 0])
    of = type(of)(
        of.images, torch.zeros_like(of.labels), of.ids, of.classes, of.name, of.split, of.scale
    )
    assert budget.monotone_eps(evidence(linear())).failed is False
    reading = budget.monotone_eps(evidence(model, of))
    assert reading.failed is True
    assert reading.figure > 0.3


@pytest.mark.parametrize("norm", ["linf:0.05", "l2:0.2", "l1:1", "l0:3"])
def test_a_good_model_fails_no_check_in_any_norm(
    norm: str, linear: type[nn.Module], evidence: Callable
) -> None:
    """All checks; those whose attacks do not know the norm are skipped and say so."""
    found = run_checks(CHECKS, evidence(linear(), threat=norm, source=linear()))
    assert len(found) == len(CHECKS) >= 18
    assert [f.check for f in found if f.verdict == "fail" and f.severity != "info"] == []
    assert all(f.text and "\n" not in f.text and f.source for f in found)
    skipped = [f for f in found if f.verdict == "skipped" and "not work" in f.text]
    assert all(f"not work in {norm[:2]}" in f.text for f in skipped)
    assert (norm[:2] == "l0") == (len(skipped) > 9)


def test_tables_of_numbers_are_checked_too(evidence: Callable, made: Callable) -> None:
    """Inputs of shape (D,), three classes."""
    torch.manual_seed(0)
    model = nn.Linear(6, 3)
    x = torch.rand(40, 6, generator=torch.Generator().manual_seed(1))
    of = made(x, model(x).argmax(1).detach(), 3)
    found = run_checks(CHECKS, evidence(model, of))
    assert [f.check for f in found if f.verdict == "fail" and f.severity != "info"] == []


def test_a_model_that_cannot_be_differentiated_is_reported_not_raised(
    linear: type[nn.Module], evidence: Callable
) -> None:
    """The model raises as soon as a gradient is wanted; the checks that want one are skipped with what it said."""

    def refuse(x: Tensor) -> Tensor:
        if x.requires_grad:
            raise RuntimeError("no gradients here\nat all")
        return x

    found = {f.check: f for f in run_checks(CHECKS, evidence(linear(refuse)))}
    assert found["no-gradient"].verdict == "fail"
    assert found["single-step"].verdict == "skipped"
    assert "no gradients here" in found["single-step"].text
    assert found["random"].verdict == "pass"


def test_every_mask_changes_the_gradient_and_not_the_prediction(
    linear: type[nn.Module], split
) -> None:
    """The masks of the self-test keep nearly all predictions (that of batch statistics aside): they only look robust."""
    model = linear()
    for name, defence in defended(model).items():
        assert isinstance(defence, Defence)
        same = (defence(split.images).argmax(1) == model(split.images).argmax(1)).float().mean()
        assert same > 0.85 or name == "batch statistics", name


def test_every_check_is_named_once_and_in_a_family() -> None:
    """Names are unique, severities known, and each lives in the file of its family."""
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    assert {check.severity for check in CHECKS} == {"info", "warning", "error"}
    assert {check.family for check in CHECKS} == {
        "budget",
        "gradients",
        "outputs",
        "adversarial_points",
        "run_rows",
        "trajectory",
        "stronger_attacks",
    }
    assert all(isinstance(check, Check) and check.ask.__doc__ for check in CHECKS)
