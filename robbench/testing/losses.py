"""The contract of losses."""

from __future__ import annotations

import torch
from torch import Tensor

from robbench.attacks.base import Attack
from robbench.catalogue.builtins import ATTACKS, LOSSES
from robbench.core.objects import spec_of
from robbench.data.base import DataInfo, Split
from robbench.losses.base import Loss
from robbench.models.base import Classifier
from robbench.testing.rules import Require, check_spec, rules_of
from robbench.testing.toys import SHAPE, toy_model, toy_split
from robbench.threat.model import parse_threat
from robbench.training.forward import Forward
from robbench.training.inner import Inner
from robbench.training.step import NoInnerAttackError, NoTeacherError, TrainStep


def check_loss(given: str | Loss | type[Loss], classes: int = 4) -> None:
    """Check that a loss keeps the contract, on data of so many classes.

    given: a spec, a loss, or a class of them. Raises AssertionError naming the broken rule;
    UserError for a bad spec, and for an object that none describes.
    """
    spec = spec_of(LOSSES, given)
    require = rules_of(spec)
    loss = LOSSES.build(spec)
    check_spec(spec, LOSSES, "loss")
    split = toy_split(24, classes)
    info = DataInfo(SHAPE, split.classes, (0.5,), (0.25,))
    loss.check(info)
    # In evaluation mode, without dropout, a second pass can be compared.
    model = loss.prepare(toy_model(classes), info).eval()
    teacher = None if loss.teacher is None else Forward(toy_model(classes, seed=1))
    attack = ATTACKS.build(loss.inner or "pgd:steps=3")
    assert isinstance(attack, Attack)
    inner = Inner(attack, parse_threat("linf:0.05")[0])
    needed = None if loss.inner is None else inner
    _require_declared(loss, _step(model, split, needed, teacher), require)
    step = _step(model, split, inner, teacher)
    values = loss(step)
    require(isinstance(values, Tensor), f"its value must be a tensor, not {type(values).__name__}")
    shape = tuple(values.shape)
    require(shape == (len(split),), f"its value must have shape ({len(split)},), not {shape}")
    require(bool(torch.isfinite(values).all()), "its values must be finite")
    require(torch.equal(values, loss(step)), "the same step must give the same values again")
    training = any(module.training for module in model.modules())
    require(not training, "it must leave the model's mode as it was")
    values.mean().backward()  # type: ignore[no-untyped-call]
    grads = [weight.grad for weight in model.parameters()]
    reached = any(grad is not None and bool(grad.abs().sum() > 0) for grad in grads)
    require(reached, "its gradient must reach the weights")
    if not loss.batch_coupled:
        # Values may be differences of larger ones, and kernels round by the place of a row.
        rounding = 1e-6 + 1e-5 * float(values.detach().abs().max())
        order = torch.arange(len(split)).flip(0)
        moved = loss(_step(model, split.take(order), inner, teacher))
        same = torch.allclose(moved, values[order], atol=rounding)
        require(same, "a sample's value must not depend on its place")
        part = loss(_step(model, split.take(torch.arange(8)), inner, teacher))
        same = torch.allclose(part, values[:8], atol=rounding)
        require(same, "it depends on the batch: set batch_coupled = True")
    _check_fit(loss, model, split)


def _require_declared(loss: Loss, step: TrainStep, require: Require) -> None:
    """A loss that names no inner attack has to do without one, and without a teacher likewise."""
    try:
        loss(step)
    except (NoInnerAttackError, NoTeacherError) as error:
        require(False, str(error))


def _check_fit(loss: Loss, model: Classifier, split: Split) -> None:
    if not loss.fits_head:
        return
    with torch.no_grad():
        loss.fit_head(model.head, model.features(split.pixels(slice(None))), split.labels)
    state = model.head.state_dict().values()
    finite = all(bool(torch.isfinite(value).all()) for value in state)
    rules_of(type(loss).__name__)(finite, "fit_head must leave finite values")


def _step(
    model: Classifier, split: Split, inner: Inner | None, teacher: Forward | None
) -> TrainStep:
    index = torch.arange(len(split))
    return TrainStep(
        model,
        split.pixels(index),
        split.labels,
        index,
        key=split.ids,
        inner=inner,
        epoch=0,
        progress=0.5,
        teacher=teacher,
    )
