"""Precision, memory format and compilation of the passes in training."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from robbench.attacks.pgd import PGD
from robbench.core import keyed
from robbench.losses.cross_entropy import CrossEntropy
from robbench.losses.trades import TRADES
from robbench.models.base import Classifier
from robbench.testing import toy_split
from robbench.threat.model import parse_threat
from robbench.training.forward import Forward
from robbench.training.inner import Inner
from robbench.training.step import TrainStep
from robbench.training.trainer import Trainer

SHAPE, THREAT = (3, 8, 8), parse_threat("linf:0.1")[0]


@pytest.fixture
def pictures():
    """40 images with channels, of 4 classes."""
    return toy_split(40, 4, SHAPE)


@pytest.fixture
def conv_model():
    """Makes the same convolutional network, with batch-norm and some width, again and again."""

    def make():
        torch.manual_seed(0)
        body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, stride=2),
            nn.ReLU(),
            nn.Flatten(),
        )
        return Classifier(nn.Identity(), body, nn.Linear(72, 4), features=72, classes=4)

    return make


def dtypes_inside(model):
    """Append the dtype that the head is given and the one it makes, at every pass."""
    seen = []
    model.head.register_forward_hook(
        lambda module, inputs, logits: seen.append((inputs[0].dtype, logits.dtype))
    )
    return seen


def test_bf16_is_inside_and_float32_outside(pictures, conv_model):
    """Under bf16 the layers work in bfloat16, but logits, features, weights and gradients are
    float32.
    """
    model = conv_model()
    seen, forward = dtypes_inside(model), Forward(model, precision="bf16")
    out = forward.output(pictures.pixels(slice(None)))
    logits = forward(pictures.pixels(slice(None)))
    assert seen == [(torch.bfloat16, torch.bfloat16)] * 2
    assert {out.logits.dtype, out.features.dtype, logits.dtype} == {torch.float32}
    out.logits.sum().backward()
    assert (
        {weight.dtype for weight in model.parameters()}
        == {weight.grad.dtype for weight in model.parameters()}
        == {torch.float32}
    )
    assert torch.allclose(logits, conv_model().train()(pictures.pixels(slice(None))), atol=0.05)
    assert not torch.equal(logits, conv_model().train()(pictures.pixels(slice(None))))
    assert not torch.is_autocast_enabled("cpu")


def test_weights_get_a_gradient_after_a_pass_without(pictures, conv_model):
    """Autocast keeps casts of weights.

    One made without gradient (the inner attack, a peek) is not used for the loss.
    """
    model = conv_model()
    step = TrainStep(
        model,
        pictures.pixels(slice(None)),
        pictures.labels,
        torch.arange(40),
        key=pictures.ids,
        epoch=0,
        progress=0.0,
        inner=Inner(PGD(steps=2, init="gaussian"), THREAT),
        forward=Forward(model, precision="bf16"),
    )
    step.peek(step.x)
    found = step.adversary("kl-from-clean")
    assert found.x.dtype == torch.float32
    assert float((found.x - step.x).abs().max()) <= 0.1 + 1e-6
    TRADES()(step).mean().backward()
    assert all(float(weight.grad.abs().sum()) > 0 for weight in model.parameters())


@pytest.mark.parametrize("inner", [None, Inner(PGD(steps=2), THREAT)], ids=["clean", "adversarial"])
def test_bf16_trains(pictures, threat, recipe, conv_model, inner):
    """Training under bf16 learns as float32 does, on other bits; validation is in float32."""
    accuracies, weights = [], []
    for precision in ("fp32", "bf16"):
        model = conv_model()
        seen = dtypes_inside(model)
        settings = recipe(epochs=25, batch_size=20, lr=0.1, momentum=0.9, precision=precision)
        trainer = Trainer(
            model, CrossEntropy(), pictures, pictures, settings, inner=inner, threat=threat
        )
        for _ in range(25):
            row = trainer.run_epoch(lambda _: None)
        accuracies.append(row["clean_accuracy"])
        weights.append(model.head.weight.detach().clone())
        assert seen[-1] == (torch.float32, torch.float32)
        assert ((torch.bfloat16, torch.bfloat16) in seen) == (precision == "bf16")
    assert min(accuracies) > 0.6
    assert not torch.equal(*weights)


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_channels_last_gives_the_same_numbers(pictures, threat, recipe, conv_model, mode):
    """Two epochs in either memory format end with the same losses, weights and statistics to 1e-5,
    and it is really used.
    """
    rows, models = [], []
    for channels_last in (False, True):
        model = conv_model()
        formats = []
        model.body.register_forward_pre_hook(
            lambda module, inputs, formats=formats: formats.append(
                inputs[0].is_contiguous(memory_format=torch.channels_last)
            )
        )
        settings = recipe(epochs=2, batch_size=20, lr=0.1, channels_last=channels_last)
        inner = Inner(PGD(steps=2, rate=0.5), threat, mode)
        trainer = Trainer(
            model,
            CrossEntropy(),
            pictures,
            pictures.take(torch.arange(0)),
            settings,
            inner=inner,
            threat=threat,
        )
        rows.append([trainer.run_epoch(lambda _: None)["train_loss"] for _ in range(2)])
        models.append(model)
        assert set(formats[:6]) == {channels_last}
        assert (
            model.body[0].weight.is_contiguous(memory_format=torch.channels_last) == channels_last
        )
    assert rows[0] == pytest.approx(rows[1], abs=1e-5)
    for name, value in models[0].state_dict().items():
        assert torch.allclose(
            value.float(), models[1].state_dict()[name].float(), rtol=0, atol=1e-5
        ), name


def test_the_same_adversaries_in_either_format(pictures, conv_model, threat):
    """The inner attack's points are in the loader's own layout and are those of the usual one but
    for a sign on an edge.
    """
    points = []
    for channels_last in (False, True):
        model = conv_model().eval()
        step = TrainStep(
            model,
            pictures.pixels(slice(None)),
            pictures.labels,
            torch.arange(40),
            key=keyed.fold(pictures.ids, 1),
            inner=Inner(PGD(steps=3), threat),
            epoch=0,
            progress=0.0,
            forward=Forward(model, channels_last=channels_last),
        )
        points.append(step.adversary().x)
    assert float(((points[0] - points[1]).abs() > 1e-5).float().mean()) < 1e-3


def test_channels_last_leaves_vectors_alone(split, validation, threat, recipe, plain_model):
    """Data without a width and a height trains as it does otherwise."""
    flat = [part.images.flatten(1).float() / 255 for part in (split, validation)]
    vectors, held_out = (
        type(split)(x, part.labels, part.ids, part.classes, "v", "train")
        for x, part in zip(flat, (split, validation), strict=True)
    )
    row = Trainer(
        plain_model(),
        CrossEntropy(),
        vectors,
        held_out,
        recipe(channels_last=True),
        inner=None,
        threat=threat,
    ).run_epoch(lambda _: None)
    assert row["train_loss"] > 0


def test_compile_compiles_what_is_called(pictures, threat, recipe, conv_model, monkeypatch):
    """With `compile` both the logits of the inner attack and the outputs of the loss come from
    compiled functions.
    """
    compiled = []

    def compiler(function):
        calls = []
        compiled.append((getattr(function, "__name__", "model"), calls))
        return lambda x: calls.append(len(x)) or function(x)

    monkeypatch.setattr(torch, "compile", compiler)
    model = conv_model()
    before = copy.deepcopy(model.state_dict())
    settings = recipe(batch_size=20, compile=True)
    Trainer(
        model,
        CrossEntropy(),
        pictures,
        pictures,
        settings,
        inner=Inner(PGD(steps=3), threat),
        threat=threat,
    ).run_epoch(lambda _: None)
    assert dict(compiled) == {"output": [20] * 2, "model": [20] * 6}
    assert model.state_dict().keys() == before.keys()
