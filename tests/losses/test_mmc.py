"""MMC and MMLDA: by loops over the authors' centres, their gradients, and what they refuse."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from robbench.attacks.pgd import PGD
from robbench.catalogue.builtins import LOSSES
from robbench.core.errors import UserError
from robbench.data.base import DataInfo
from robbench.losses.mmc import MMC, MMLDA
from robbench.models.base import Output
from robbench.models.create import create
from robbench.models.heads import build_head
from robbench.testing import check_loss, toy_split
from robbench.threat.model import parse_threat
from robbench.training.inner import Inner
from robbench.training.step import TrainStep

MODULE = "robbench.losses.mmc"


def info_of(classes):
    return DataInfo((1, 6, 6), tuple(f"c{k}" for k in range(classes)), (0.5,), (0.25,))


def step_of(features, labels, spec="max-mahalanobis"):
    """As much of a step as the losses look at, with given features under a head for the classes in
    labels.
    """
    head = build_head(spec, features.shape[1], max(labels) + 1).to(features.dtype)
    return SimpleNamespace(y=torch.tensor(labels), head=head, out=Output(head(features), features))


def authors_values(features, labels, scale=10.0):
    """Squared distance to the class' centre and cross-entropy of minus all of them, in plain
    float64 loops.
    """
    classes, dimension = max(labels) + 1, features.shape[1]
    mu = np.zeros((classes, dimension))
    for k in range(classes):
        for j in range(k):
            mu[k, j] = -(1 / (classes - 1) + mu[k] @ mu[j]) / mu[j, j]
        mu[k, k] = math.sqrt(max(0, 1 - mu[k] @ mu[k]))
    distances = [
        [sum((h - scale * m) ** 2 for h, m in zip(row, center, strict=True)) for center in mu]
        for row in features
    ]
    smallest = [min(row) for row in distances]
    partition = [
        sum(math.exp(low - d) for d in row) for row, low in zip(distances, smallest, strict=True)
    ]
    own = [row[y] for row, y in zip(distances, labels, strict=True)]
    return own, [
        d - low + math.log(total) for d, low, total in zip(own, smallest, partition, strict=True)
    ]


@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_values_are_those_of_plain_loops(scale):
    """Both losses on random features of five classes, over the centres of the authors'
    recursion.
    """
    features = 3 * torch.randn(
        20, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    labels = [0, 1, 2, 3, 4] * 4
    own, entropy = authors_values(features.numpy(), labels, scale)
    step = step_of(features, labels, f"max-mahalanobis:scale={scale}")
    assert MMC()(step).tolist() == pytest.approx(own, rel=1e-5)
    assert MMLDA()(step).tolist() == pytest.approx(entropy, rel=1e-5, abs=1e-5)


def test_one_class_at_anothers_center():
    """Zero at its own centre and 14.907120^2 at any other one of ten.

    Half of that with the paper's factor.
    """
    centers = build_head("max-mahalanobis:scale=10", 12, 10).centers.double()
    own = list(range(10))
    assert MMC()(step_of(centers, own)).tolist() == pytest.approx([0] * 10, abs=1e-9)
    other = [9, *own[:9]]
    assert MMC()(step_of(centers, other)).sqrt().tolist() == pytest.approx(
        [14.907120] * 10, abs=1e-5
    )
    half = MMC()(step_of(centers, other, "max-mahalanobis:factor=0.5"))
    assert half.tolist() == pytest.approx([14.907120**2 / 2] * 10, abs=1e-4)


def test_gradients():
    """MMC pulls straight to the class' centre, 2 (h - mu_y), whatever the others do.

    MMLDA by p_k - [k = y] of each.
    """
    features = torch.randn(
        4, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True
    )
    labels = [0, 1, 2, 3]
    step = step_of(features, labels, "max-mahalanobis:scale=2")
    gaps = (features[:, None] - step.head.centers).detach()
    (grad,) = torch.autograd.grad(MMC()(step).sum(), features, retain_graph=True)
    assert torch.allclose(grad, 2 * gaps[range(4), labels])
    assert float(grad.norm(dim=1).min()) > 0.1
    (grad,) = torch.autograd.grad(MMLDA()(step).sum(), features)
    weights = torch.eye(4) - step.out.logits.detach().softmax(1)
    assert torch.allclose(grad, 2 * (weights[:, :, None] * gaps).sum(1))


@pytest.mark.parametrize("size", [1e-4, 1e4])
def test_extreme_features(size):
    """Features close to zero or of 1e4 give finite values and gradients in float32."""
    features = (
        size * torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    ).requires_grad_()
    for loss in (MMC(), MMLDA()):
        values = loss(step_of(features, [0, 1, 2, 3, 0, 1]))
        (grad,) = torch.autograd.grad(values.sum(), features)
        assert bool(torch.isfinite(values).all())
        assert bool(torch.isfinite(grad).all())


def test_it_looks_at_the_inner_attacks_points():
    """With an inner attack the value is the distance there, which true-logit has made larger than
    at the clean points.
    """
    split, index = toy_split(16), torch.arange(16)
    torch.manual_seed(0)
    model = MMC(scale=2).prepare(create("mlp:width=8", info_of(4)), info_of(4))
    clean, attacked = (
        TrainStep(
            model,
            split.pixels(index),
            split.labels,
            index,
            key=split.ids,
            inner=inner,
            epoch=0,
            progress=0.5,
        )
        for inner in (
            None,
            Inner(PGD(steps=10, objective="true-logit"), parse_threat("linf:0.1")[0]),
        )
    )
    assert bool((MMC()(attacked) > MMC()(clean)).all())


@pytest.mark.parametrize("options", ["", ":scale=5,width=40,factor=0.5", ":width=none"])
@pytest.mark.parametrize("name", ["MMC", "MMLDA"])
def test_options_reach_the_head(name, options):
    """The head is the one the options describe, and its spec, which the checkpoint keeps, builds it
    again.
    """
    loss = LOSSES.build(f"{MODULE}:{name}{options}")
    model = loss.prepare(create("mlp:width=8", info_of(4)), info_of(4))
    assert model.head.centers.norm(dim=1).tolist() == pytest.approx([loss.scale] * 4, rel=1e-6)
    assert model.head.centers.shape == (4, loss.width or 8)
    assert model.head.factor == loss.factor
    again = build_head(model.head_spec, 8, 4)
    again.load_state_dict(model.head.state_dict())
    x = torch.rand(3, 8)
    assert torch.equal(again(x), model.head(x))


@pytest.mark.parametrize("spec", ["MMC", "MMLDA", "MMC:width=none,scale=1", "MMLDA:factor=0.5"])
@pytest.mark.parametrize("classes", [2, 4])
def test_conformance(spec, classes):
    """The suite that every loss has to pass."""
    check_loss(f"{MODULE}:{spec}", classes)


@pytest.mark.parametrize("name", ["MMC", "MMLDA"])
def test_it_learns_and_the_centers_stay(name):
    """A small network trained by it gets most of the toy data right.

    Its centres are where they were, bit for bit.
    """
    split, index = toy_split(200), torch.arange(200)
    loss = LOSSES.build(f"{MODULE}:{name}:scale=4,width=16")
    torch.manual_seed(0)
    model = loss.prepare(create("mlp:width=32,depth=1", info_of(4)), info_of(4)).train()
    before = model.head.centers.clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    for epoch in range(60):
        step = TrainStep(
            model,
            split.pixels(index),
            split.labels,
            index,
            key=split.ids,
            inner=None,
            epoch=epoch,
            progress=epoch / 60,
        )
        optimizer.zero_grad()
        loss(step).mean().backward()
        optimizer.step()
    assert float((model(split.pixels(index)).argmax(1) == split.labels).float().mean()) > 0.8
    assert torch.equal(model.head.centers, before)


@pytest.mark.parametrize("options", [{"width": 8}, {"width": 1}])
def test_too_small_a_width_is_refused_before_anything_is_built(options):
    """Ten centres need nine dimensions."""
    with pytest.raises(UserError, match="need width=9 or more"):
        MMC(**options).check(info_of(10))
    MMC(width=9).check(info_of(10))
    MMC(width=None).check(info_of(10))


def test_data_and_models_it_cannot_work_on():
    """One class, features of too small a dimension, and nothing left to train are one clear line
    each.
    """
    with pytest.raises(UserError, match="two classes or more"):
        MMC().check(info_of(1))
    with pytest.raises(UserError, match="need 9 dimensions, there are 5; give width=9 or more"):
        MMC(width=None).prepare(create("mlp:width=5", info_of(10)), info_of(10))
    with pytest.raises(UserError, match="nothing can be trained; give width"):
        MMC(width=None).prepare(create("mlp:depth=0", info_of(10)), info_of(10))
    MMC().prepare(create("mlp:depth=0", info_of(10)), info_of(10))


@pytest.mark.parametrize(
    "option", ["scale=0", "scale=-1", "width=0", "width=x", "factor=0", "skale=1"]
)
def test_bad_options(option):
    """An option out of range, of the wrong type or unknown is named."""
    with pytest.raises(UserError, match=option.partition("=")[0]):
        LOSSES.build(f"{MODULE}:MMC:{option}")
