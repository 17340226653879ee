"""Clean logit pairing and logit squeezing: the vectors, pairs by a double loop, and the noise on
the inputs.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from robbench.catalogue.builtins import LOSSES
from robbench.core.errors import UserError
from robbench.losses.logit_regularisation import CLP, LSQ, noisy
from robbench.models.base import Classifier
from robbench.testing import check_loss, toy_model, toy_split
from robbench.training.step import TrainStep

MODULE = "robbench.losses.logit_regularisation"
BOTH = [CLP, LSQ]


def entropy(logits, y):
    return math.log(sum(math.exp(v) for v in logits)) - logits[y]


def real_step(model, x, y, *, epoch=0, key=None):
    index = torch.arange(len(y))
    return TrainStep(
        model, x, y, index, key=index if key is None else key, inner=None, epoch=epoch, progress=0.5
    )


@pytest.mark.parametrize("lam", [0.0, 0.5, 2.0])
def test_the_vectors(fake_step, z, a, lam):
    """The pair (z, a) has a mean squared difference of 0.9375, and z a norm of 2.291288."""
    step = fake_step(torch.cat([z, a]), [0, 2])
    assert CLP(lam=lam, sigma=0)(step).tolist() == pytest.approx(
        [0.342350 + lam * 0.9375, 0.787339 + lam * 0.9375], abs=2e-6
    )
    assert LSQ(lam=lam, sigma=0)(step)[0].item() == pytest.approx(
        0.342350 + lam * 2.291288, abs=2e-6
    )
    assert step.asked == []  # no attack


@pytest.mark.parametrize("size", [1, 2, 3, 6, 7])
def test_they_are_the_slow_loops(fake_step, size):
    """The batch mean of CLP is the mean cross-entropy plus lam times the mean over the pairs of
    halves, odd batches too.
    """
    logits, labels = (
        np.random.default_rng(size).normal(size=(size, 4)),
        [i % 4 for i in range(size)],
    )
    step = fake_step(torch.tensor(logits), labels)
    plain = [entropy(row, y) for row, y in zip(logits, labels, strict=True)]
    half = size // 2
    pairs = [
        sum((logits[i][k] - logits[i + half][k]) ** 2 for k in range(4)) / 4 for i in range(half)
    ]
    found = CLP(lam=0.7, sigma=0)(step)
    assert found.mean().item() == pytest.approx(
        np.mean(plain) + (0.7 * np.mean(pairs) if pairs else 0), rel=1e-9
    )
    if size % 2:
        assert found[-1].item() == pytest.approx(plain[-1], rel=1e-9)  # without a partner
    squeezed = [
        value + 0.7 * math.sqrt(sum(v * v for v in row))
        for value, row in zip(plain, logits, strict=True)
    ]
    assert LSQ(lam=0.7, sigma=0)(step).tolist() == pytest.approx(squeezed, rel=1e-9)


@pytest.mark.parametrize("cls", BOTH)
def test_gradients_are_those_of_finite_differences(fake_step, cls):
    """Gradient flows through both members of a pair and through the norm."""
    logits = torch.randn(
        5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    ).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda z: cls(sigma=0)(fake_step(z, [0, 1, 2, 0, 1])), (logits,)
    )


@pytest.mark.parametrize("cls", BOTH)
def test_extreme_logits_give_finite_numbers(fake_step, cls):
    """Logits that are all zero, where the norm has a corner, and logits of 1e4 have finite values
    and gradients.
    """
    z = torch.tensor([[0.0, 0, 0], [1e4, -1e4, 0], [-1e4, 1e4, 0], [0, 0, 0]], requires_grad=True)
    values = cls(sigma=0)(fake_step(z, [0, 0, 0, 1]))
    values.mean().backward()
    assert torch.isfinite(values).all()
    assert torch.isfinite(z.grad).all()


def test_noise_has_the_given_deviation_and_stays_in_the_box():
    """Of grey inputs small noise is N(0, sigma^2); large noise is cut off at 0 and 1."""
    grey = real_step(
        toy_model(), torch.full((200, 1, 6, 6), 0.5), torch.zeros(200, dtype=torch.int64)
    )
    difference = noisy(grey, 0.05) - grey.x
    assert difference.std().item() == pytest.approx(0.05, rel=0.03)
    assert abs(difference.mean().item()) < 0.002
    wide = noisy(grey, 2.0)
    assert wide.min() == 0
    assert wide.max() == 1
    assert float(((wide == 0) | (wide == 1)).float().mean()) == pytest.approx(
        1 - 0.1974, abs=0.02
    )  # P(|N| < 1/4)


def test_noise_is_the_samples_own():
    """It depends on the sample's key alone: the same in another place of the batch, another under
    another key.
    """
    x, y, key = torch.rand(6, 1, 6, 6), torch.zeros(6, dtype=torch.int64), torch.arange(6) + 100
    here = noisy(real_step(toy_model(), x, y, key=key), 0.1)
    order = torch.tensor([3, 0, 5])
    assert torch.equal(
        noisy(real_step(toy_model(), x[order], y[order], key=key[order]), 0.1), here[order]
    )
    assert not torch.allclose(noisy(real_step(toy_model(), x, y, key=key + 1), 0.1), here)
    assert not torch.allclose((here - x)[0], (here - x)[1])


@pytest.mark.parametrize("cls", BOTH)
def test_the_loss_is_taken_at_the_noisy_inputs(cls):
    """The value is that of a step whose inputs are the noisy ones.

    Without noise the clean pass is not repeated.
    """
    model, split = toy_model(), toy_split(8)
    step = real_step(model, split.pixels(slice(None)), split.labels)
    values = cls(sigma=0.3)(step)
    assert step.n_forward == 8
    moved = real_step(model, noisy(step, 0.3), split.labels)
    assert torch.equal(values, cls(sigma=0)(moved))
    assert not torch.allclose(values, cls(sigma=0)(step))
    bare = real_step(model, step.x, split.labels)
    bare.clean  # noqa: B018
    cls(sigma=0)(bare)
    assert bare.n_forward == 8


def test_only_pairing_looks_at_the_batch():
    """CLP says so; LSQ's values are the samples' own."""
    assert CLP().batch_coupled
    assert not LSQ().batch_coupled


@pytest.mark.parametrize("name", ["CLP", "LSQ"])
@pytest.mark.parametrize("options", ["", ":sigma=0", ":lam=0,sigma=0.1"])
def test_they_keep_the_contract(name, options):
    """Repeatable, finite, with a gradient, and per sample where they say so."""
    check_loss(f"{MODULE}:{name}{options}", 4)
    check_loss(f"{MODULE}:{name}{options}", 2)


@pytest.mark.parametrize("name", ["CLP", "LSQ"])
def test_they_train(name):
    """A small network learns the toy data; a large weight makes what is penalised small."""
    accuracy, size = trained(LOSSES.build(f"{MODULE}:{name}:sigma=0.1,lam=0.05"))
    assert accuracy > 0.6  # chance is about 0.25
    assert trained(LOSSES.build(f"{MODULE}:{name}:sigma=0.1,lam=2"))[1] < 0.5 * size


def trained(loss):
    """Accuracy on its training data and mean norm of the logits of a network after 60 steps."""
    torch.manual_seed(0)
    split = toy_split(32)
    body = nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.ReLU())
    model = Classifier(nn.Identity(), body, nn.Linear(16, 4), features=16, classes=4)
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    x = split.pixels(slice(None))
    for t in range(60):
        optimizer.zero_grad()
        loss(real_step(model, x, split.labels, epoch=t, key=split.ids + t)).mean().backward()
        optimizer.step()
    with torch.no_grad():
        return float((model(x).argmax(1) == split.labels).float().mean()), float(
            model(x).norm(dim=1).mean()
        )


@pytest.mark.parametrize("name", ["CLP", "LSQ"])
@pytest.mark.parametrize("bad", ["lam=-1", "sigma=-0.1", "sigma=inf", "noise=1", "lam=much"])
def test_bad_options_are_one_clear_line(name, bad):
    """An option out of range, of the wrong type or unknown is a UserError that names it."""
    with pytest.raises(UserError) as error:
        LOSSES.build(f"{MODULE}:{name}:{bad}")
    assert bad.partition("=")[0] in str(error.value)
    assert "\n" not in str(error.value)
