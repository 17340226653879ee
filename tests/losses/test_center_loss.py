"""Center loss: values and moves by plain loops, who may touch the centres, and that a resumed run
has them again.
"""

from __future__ import annotations

import io
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from robbench.catalogue.builtins import LOSSES
from robbench.core.errors import UserError
from robbench.core.freeze import buffers_kept, frozen
from robbench.data.base import DataInfo
from robbench.losses.center_loss import CenterLoss
from robbench.models.base import Output
from robbench.models.create import create
from robbench.models.heads import build_head
from robbench.testing import check_loss, toy_split
from robbench.threat.model import parse_threat
from robbench.training.recipe import Recipe
from robbench.training.state import restore_trainer, trainer_state
from robbench.training.trainer import Trainer

SPEC = "robbench.losses.center_loss:CenterLoss"
INFO = DataInfo((1, 6, 6), ("a", "b", "c", "d"), (0.5,), (0.25,))
LABELS = [0, 1, 1, 3, 3, 3, 1, 0]  # nobody of class 2


def random_features():
    return torch.randn(
        8, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True
    )


@pytest.fixture
def head():
    """A head in float64 whose centres have been somewhere already."""
    torch.manual_seed(1)
    head = build_head("center", 5, 4).double()
    head.centers.normal_()
    return head


def step_of(features, labels, head):
    """As much of a step as the loss looks at, with given features."""
    return SimpleNamespace(y=torch.tensor(labels), head=head, out=Output(head(features), features))


@pytest.mark.parametrize("lam", [0.0, 0.003, 1.0, 2.0])
def test_values_are_those_of_plain_loops(head, lam):
    """Cross-entropy plus lam / 2 times the squared distance to the centre as it was before the
    batch moved it.
    """
    features, centers = random_features(), head.centers.numpy().copy()
    values = CenterLoss(lam=lam)(step_of(features, LABELS, head)).tolist()
    weight, bias, h = (
        head.weight.detach().numpy(),
        head.bias.detach().numpy(),
        features.detach().numpy(),
    )
    for n, y in enumerate(LABELS):
        z = [float(np.sum(w * h[n]) + b) for w, b in zip(weight, bias, strict=True)]
        entropy = math.log(sum(math.exp(v) for v in z)) - z[y]
        distance = sum((a - c) ** 2 for a, c in zip(h[n], centers[y], strict=True))
        assert values[n] == pytest.approx(entropy + lam / 2 * distance, rel=1e-9)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 1.0])
def test_moves_are_those_of_plain_loops(head, rate):
    """Each centre moves by its class' mean gap with one more in the count.

    The class nobody has stays.
    """
    features, before = random_features(), head.centers.numpy().copy()
    CenterLoss(rate=rate)(step_of(features, LABELS, head))
    for j in range(4):
        members = [features.detach().numpy()[n] for n, y in enumerate(LABELS) if y == j]
        move = sum((before[j] - h for h in members), np.zeros(5)) / (1 + len(members))
        assert np.allclose(head.centers[j].numpy(), before[j] - rate * move, rtol=0, atol=1e-12)
    assert np.array_equal(head.centers[2].numpy(), before[2])
    assert np.array_equal(head.centers.numpy(), before) == (rate == 0)


def test_by_hand():
    """From zero, one sample at 4 moves its centre by half of 4 / 2.

    Two samples at 3 by half of 6 / 3.
    """
    head = build_head("center", 1, 4)
    CenterLoss()(step_of(torch.tensor([[4.0], [3.0], [3.0]]), [0, 1, 1], head))
    assert head.centers[:, 0].tolist() == [1.0, 1.0, 0.0, 0.0]


def test_centers_settle_at_the_class_means(head):
    """The same batch again and again takes each centre to the mean of its class."""
    features, loss = random_features(), CenterLoss()
    for _ in range(200):
        loss(step_of(features, LABELS, head))
    for j in (0, 1, 3):
        mean = features.detach()[torch.tensor(LABELS) == j].mean(0)
        assert torch.allclose(head.centers[j], mean)


def test_gradients(head):
    """Features feel the cross-entropy and lam (h - c_y).

    The centres feel nothing and are no parameter.
    """
    features, centers = random_features(), head.centers.clone()
    step = step_of(features, LABELS, head)
    (grad,) = torch.autograd.grad(CenterLoss(lam=0.7)(step).sum(), features)
    (entropy,) = torch.autograd.grad(
        F.cross_entropy(head(features), step.y, reduction="sum"), features
    )
    assert torch.allclose(grad, entropy + 0.7 * (features - centers[LABELS]).detach())
    assert not head.centers.requires_grad
    assert {name for name, _ in head.named_parameters()} == {"weight", "bias"}


def test_centers_stay_in_evaluation_mode_and_where_buffers_are_kept(head):
    """Looking at the loss moves nothing, nor do an attack's guard and the first pass of a weight
    perturbation.
    """
    features, before = random_features(), head.centers.clone()
    loss = CenterLoss()
    head.eval()
    first = loss(step_of(features, LABELS, head))
    assert torch.equal(loss(step_of(features, LABELS, head)), first)
    assert torch.equal(head.centers, before)
    head.train()
    with buffers_kept(head):
        loss(step_of(features, LABELS, head)).sum().backward()
        assert not torch.equal(head.centers, before)
    assert torch.equal(head.centers, before)
    with frozen(head):
        loss(step_of(features, LABELS, head))
    assert torch.equal(head.centers, before)
    loss(step_of(features, LABELS, head))
    assert not torch.equal(head.centers, before)


@pytest.mark.parametrize("size", [1e-4, 1e4])
def test_extreme_features(size):
    """Features close to zero or of 1e4 give finite values, gradients and centres in float32."""
    head = build_head("center", 5, 4)
    features = (size * random_features().detach().float()).requires_grad_()
    values = CenterLoss()(step_of(features, LABELS, head))
    (grad,) = torch.autograd.grad(values.sum(), features)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in (values, grad, head.centers))


@pytest.mark.parametrize("options", ["", ":lam=1,rate=1", ":lam=0"])
@pytest.mark.parametrize("classes", [2, 4])
def test_conformance(options, classes):
    """The suite that every loss has to pass."""
    check_loss(SPEC + options, classes)


def trainer(epochs=2):
    torch.manual_seed(0)
    loss = CenterLoss(lam=0.1)
    model = loss.prepare(create("mlp:width=32,depth=1", INFO), INFO)
    recipe = Recipe(
        epochs=epochs,
        batch_size=50,
        optimizer="sgd",
        lr=0.1,
        momentum=0.9,
        weight_decay=5e-4,
        schedule="constant",
        augment="none",
        seed=0,
    )
    return Trainer(
        model,
        loss,
        toy_split(200),
        toy_split(0),
        recipe,
        inner=None,
        threat=parse_threat("linf:0.05")[0],
    )


def test_it_learns_and_a_resumed_run_is_the_same():
    """It gets most of the toy data right.

    Half of it, saved, loaded elsewhere and gone on with, ends bit-equal, centres too.
    """
    straight, first, second = trainer(20), trainer(20), trainer(20)
    for _ in range(20):
        straight.run_epoch(lambda _: None)
    file = io.BytesIO()
    for _ in range(10):
        first.run_epoch(lambda _: None)
    torch.save(trainer_state(first), file)
    file.seek(0)
    restore_trainer(second, torch.load(file, weights_only=True))
    for _ in range(10):
        second.run_epoch(lambda _: None)
    end = straight.model.state_dict()
    assert end.keys() == second.model.state_dict().keys()
    assert all(torch.equal(tensor, second.model.state_dict()[name]) for name, tensor in end.items())
    assert "head.centers" in end
    assert bool((end["head.centers"] != first.model.head.centers).any())
    split, model = toy_split(200), straight.model.eval()
    x = split.pixels(slice(None))
    assert float((model(x).argmax(1) == split.labels).float().mean()) > 0.8
    with torch.no_grad():  # the centres are where the features are
        nearest = torch.cdist(model.features(x), model.head.centers).argmin(1)
    assert float((nearest == split.labels).float().mean()) > 0.8


@pytest.mark.parametrize("option", ["lam=-1", "rate=1.5", "rate=-0.1", "lam=x", "alpha=0.5"])
def test_bad_options(option):
    """An option out of range, of the wrong type or unknown is named."""
    with pytest.raises(UserError, match=option.partition("=")[0]):
        LOSSES.build(f"{SPEC}:{option}")
