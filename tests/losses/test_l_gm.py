"""L-GM: by plain loops, the margin that only training sees, and its gradients."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from robbench.catalogue.builtins import LOSSES
from robbench.core.errors import UserError
from robbench.data.base import DataInfo
from robbench.losses.l_gm import LGM
from robbench.models.base import Output
from robbench.models.create import create
from robbench.models.heads import build_head
from robbench.testing import check_loss, toy_split
from robbench.training.step import TrainStep

SPEC = "robbench.losses.l_gm:LGM"
INFO = DataInfo((1, 6, 6), ("a", "b", "c", "d"), (0.5,), (0.25,))


def step_of(features, labels, head=None):
    """As much of a step as the loss looks at, with given features."""
    head = head or build_head("gaussian", features.shape[1], 4).to(features.dtype)
    return SimpleNamespace(y=torch.tensor(labels), head=head, out=Output(head(features), features))


def random_features(rows=8, dimension=5):
    return torch.randn(
        rows,
        dimension,
        generator=torch.Generator().manual_seed(0),
        dtype=torch.float64,
        requires_grad=True,
    )


def slow(features, means, labels, alpha, lam):
    """One sample and one class at a time, in float64."""
    values = []
    for h, y in zip(features, labels, strict=True):
        logits = []
        for k, mu in enumerate(means):
            d = sum((a - b) ** 2 for a, b in zip(h, mu, strict=True)) / 2
            logits.append(-d * (1 + alpha * (k == y)))
        likelihood = np.sum((h - means[y]) ** 2) / 2
        values.append(math.log(sum(math.exp(z) for z in logits)) - logits[y] + lam * likelihood)
    return values


@pytest.mark.parametrize(
    ("alpha", "lam"), [(0.1, 0.01), (0.0, 0.0), (0.3, 0.1), (1.0, 2.0), (0.0, 0.5), (0.5, 0.0)]
)
def test_values_are_those_of_plain_loops(alpha, lam):
    """The loss on random features, for each option and both."""
    features, labels = random_features(), [0, 1, 2, 3, 3, 2, 1, 0]
    step = step_of(features, labels)
    expected = slow(features.detach().numpy(), step.head.means.detach().numpy(), labels, alpha, lam)
    assert LGM(alpha=alpha, lam=lam)(step).tolist() == pytest.approx(expected, rel=1e-9)


def test_by_hand():
    """With h at (1, 0), means at (0, 0), (2, 0), (1, 2), (1, -2): half squared distances 1/2, 1/2,
    2, 2.
    """
    head = build_head("gaussian", 2, 4)
    with torch.no_grad():
        head.means.copy_(torch.tensor([[0.0, 0], [2, 0], [1, 2], [1, -2]]))
    value = LGM(alpha=1.0, lam=0.2)(step_of(torch.tensor([[1.0, 0]]), [0], head))
    partition = math.exp(-1) + math.exp(-0.5) + 2 * math.exp(-2)
    assert value.item() == pytest.approx(1 + math.log(partition) + 0.2 * 0.5, abs=1e-6)


def test_the_margin_is_for_training_only():
    """What the model answers, and attacks climb, are the plain distances.

    The loss without margin and likelihood is their CE.
    """
    features, labels = random_features(), [0, 1, 2, 3, 3, 2, 1, 0]
    step = step_of(features, labels)
    plain = F.cross_entropy(step.head(features), step.y, reduction="none")
    assert torch.allclose(LGM(alpha=0, lam=0)(step), plain)
    assert bool((LGM(alpha=0.5, lam=0)(step) > plain).all())
    distances = (features[:, None] - step.head.means).square().sum(2) / 2
    assert torch.allclose(step.head(features), -distances)


def test_gradients_reach_features_and_means_through_both_terms():
    """Equal to the closed form: with p the softmax with margin, sum_k (p_k - [k=y]) (1 + alpha
    [k=y]) dz_k - lam dz_y.
    """
    features, labels = random_features(4), [0, 1, 2, 3]
    step = step_of(features, labels)
    loss = LGM(alpha=0.3, lam=0.7)
    grad_h, grad_means = torch.autograd.grad(loss(step).sum(), [features, step.head.means])
    one, gaps = (
        torch.eye(4, dtype=torch.float64),
        (features[:, None] - step.head.means).detach(),
    )  # dz_k / dh = -gap
    z = step.out.logits.detach()
    p = (z * (1 + 0.3 * one)).softmax(1)
    weights = (p - one) * (1 + 0.3 * one) - 0.7 * one
    assert torch.allclose(grad_h, -(weights[:, :, None] * gaps).sum(1))
    assert torch.allclose(grad_means, (weights[:, :, None] * gaps).sum(0))
    assert float(grad_means.norm(dim=1).min()) > 0.01


@pytest.mark.parametrize("size", [1e-4, 1e3, 1e4])
def test_extreme_features(size):
    """Features close to zero or of 1e4, with logits down to -1e8, give finite values and gradients
    in float32.
    """
    features = (size * random_features().detach().float()).requires_grad_()
    values = LGM()(step_of(features, [0, 1, 2, 3] * 2))
    (grad,) = torch.autograd.grad(values.sum(), features)
    assert bool(torch.isfinite(values).all())
    assert bool(torch.isfinite(grad).all())


@pytest.mark.parametrize("options", ["", ":alpha=0.3,lam=0.1", ":alpha=0,lam=0"])
@pytest.mark.parametrize("classes", [2, 4])
def test_conformance(options, classes):
    """The suite that every loss has to pass."""
    check_loss(SPEC + options, classes)


def test_it_learns():
    """A small network trained by it gets most of the toy data right, and features come near their
    means.
    """
    split, index = toy_split(200), torch.arange(200)
    torch.manual_seed(0)
    loss = LGM(lam=0.1)
    model = loss.prepare(create("mlp:width=32,depth=1", INFO), INFO).train()
    assert model.head_spec == "gaussian"
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    losses = []
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
        losses.append(loss(step).mean())
        losses[-1].backward()
        optimizer.step()
    assert float((model(split.pixels(index)).argmax(1) == split.labels).float().mean()) > 0.8
    assert losses[-1].item() < losses[0].item() / 2


@pytest.mark.parametrize("option", ["alpha=-0.1", "lam=-1", "lam=x", "alfa=0.1"])
def test_bad_options(option):
    """An option out of range, of the wrong type or unknown is named."""
    with pytest.raises(UserError, match=option.partition("=")[0]):
        LOSSES.build(f"{SPEC}:{option}")
