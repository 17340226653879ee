"""GKL: the released sums over pairs of classes, its tie to KL, and the weights of the classes."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from robbench.attacks.pgd import PGD
from robbench.catalogue.builtins import LOSSES
from robbench.core.errors import UserError
from robbench.losses.gkl import GKL, weighted_squares
from robbench.losses.trades import kl
from robbench.models.base import Output
from robbench.objectives import SoftCrossEntropy
from robbench.testing import check_loss, toy_model, toy_split
from robbench.threat.model import parse_threat
from robbench.training.inner import Inner
from robbench.training.recipe import Recipe
from robbench.training.state import restore_trainer, trainer_state
from robbench.training.step import TrainStep
from robbench.training.trainer import Trainer

THREAT = parse_threat("linf:0.1")[0]


class GivenStep:
    """Given logits and class means."""

    x, point = torch.zeros(1), torch.ones(1)

    def __init__(self, clean, adversarial, y, means):
        self.logits = {id(self.x): clean, id(self.point): adversarial}
        self.y, self.means, self.asked = y, means, []

    @property
    def clean(self):
        return self.at(self.x)

    def at(self, x):
        return Output(self.logits[id(x)], x)

    def adversary(self, objective=None):
        self.asked.append(objective)
        return type("Found", (), {"x": self.point})

    def class_means(self, name, values, initial):
        self.given, self.initial = values, initial
        return self.means


def random_step():
    torch.manual_seed(0)
    clean, adversarial = (
        (3 * torch.randn(6, 5, dtype=torch.float64)).requires_grad_() for _ in range(2)
    )
    y = torch.tensor([0, 4, 1, 1, 2, 3])
    return GivenStep(clean, adversarial, y, torch.rand(6, 5, dtype=torch.float64).softmax(1))


def released(step, alpha, beta, gamma):
    """The released code, for one sample at a time: sums over all pairs of classes."""
    values = []
    for n in range(len(step.y)):
        z, a = step.clean.logits[n : n + 1], step.at(step.point).logits[n : n + 1]
        delta_n = z.view(-1, 5, 1) - z.view(-1, 1, 5)
        delta_a = a.view(-1, 5, 1) - a.view(-1, 1, 5)
        prior = torch.pow(step.means[n : n + 1], gamma)
        pairs = prior.view(-1, 5, 1) @ prior.view(-1, 1, 5)
        mse = 0.25 * (torch.pow(delta_n - delta_a, 2) * pairs).sum() / pairs.sum()
        sce = -(F.softmax(z, dim=1).detach() * F.log_softmax(a, dim=-1)).sum(1).mean()
        values.append(F.cross_entropy(z, step.y[n : n + 1]) + beta * mse + alpha * sce)
    return torch.stack(values)


@pytest.mark.parametrize("gamma", [1.0, 0.2, 0.0])
def test_it_is_the_released_code(gamma):
    """Values, and gradients in the logits of both sides."""
    step = random_step()
    ours = GKL(alpha=3.0, beta=7.0, gamma=gamma)(step)
    theirs = released(step, 3.0, 7.0, gamma)
    assert torch.allclose(ours, theirs, rtol=1e-12)
    both = list(step.logits.values())
    for one, other in zip(
        torch.autograd.grad(ours.sum(), both),
        torch.autograd.grad(theirs.sum(), both),
        strict=True,
    ):
        assert torch.allclose(one, other, rtol=1e-10)
    assert step.asked == ["kl-from-clean"]


def test_by_hand():
    """Weights 3/4 and 1/4, gaps 2 and -2: 1/4 (2 * 3/16 * 16) = 3/2."""
    gaps, c = torch.tensor([[2.0, -2.0]]), torch.tensor([[0.75, 0.25]])
    assert weighted_squares(gaps, c).tolist() == [1.5]
    assert weighted_squares(gaps + 1000, 7 * c).tolist() == [1.5]  # neither a shift nor a scale


def test_what_the_classes_are_weighed_by():
    """Softmax of the clean logits over the temperature, without gradient; all alike at first."""
    step = random_step()
    GKL(temperature=2.5)(step)
    z = step.clean.logits.detach().numpy() / 2.5
    expected = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    assert np.allclose(step.given.numpy(), expected)
    assert not step.given.requires_grad
    assert step.initial == 1 / 5


def test_the_two_parts_of_kl():
    """The gradient of KL in z' is that of SCE; in z that of wMSE under softmax(z)."""
    step = random_step()
    z, a = step.logits.values()
    in_z, in_a = torch.autograd.grad(kl(z, a).sum(), (z, a))
    squares = weighted_squares(z - a, z.detach().softmax(1)).sum()
    (part,) = torch.autograd.grad(squares, z)
    assert torch.allclose(part, in_z)
    soft = -(z.detach().softmax(1) * a.log_softmax(1)).sum()
    assert torch.allclose(torch.autograd.grad(soft, a)[0], in_a)


def test_its_attack_climbs_soft_cross_entropy():
    """The points are those of an attack that climbs SCE itself."""
    split, model = toy_split(12), toy_model().eval()
    x, index = split.pixels(slice(None)), torch.arange(12)
    inner = Inner(PGD(steps=5, rate=0.5, init="gaussian"), THREAT)
    step = TrainStep(model, x, split.labels, index, key=index, inner=inner, epoch=0, progress=0.5)
    own = step.adversary(GKL.climbs).x
    targets = model(x).softmax(1).detach()
    assert torch.allclose(own, step.adversary(SoftCrossEntropy(targets=targets)).x, atol=1e-6)
    assert float((own - x).abs().max()) == pytest.approx(0.1, abs=1e-5)


def trainer(awp=0.0):
    torch.manual_seed(0)
    loss = GKL(temperature=0.5)
    recipe = Recipe(
        epochs=3,
        batch_size=10,
        optimizer="sgd",
        lr=0.05,
        momentum=0.9,
        weight_decay=0.0,
        schedule="constant",
        augment="none",
        seed=0,
        awp=awp,
    )
    inner = Inner(PGD(steps=2, init="gaussian"), THREAT)
    split = toy_split(50)
    return Trainer(toy_model(), loss, split, toy_split(0), recipe, inner=inner, threat=THREAT)


@pytest.mark.parametrize("awp", [0.0, 0.01])
def test_weights_are_means_over_the_last_epoch(awp):
    """By a dictionary: what the loss was given for each class, once per sample, an epoch later."""
    made, epochs = trainer(awp), [{}]
    original = made.loss.__call__

    class Watched(GKL):
        def __call__(self, step):
            value = original(step)
            if step.notes is made.notes:  # not the first pass of a weight perturbation
                soft = (step.clean.logits.detach() / 0.5).softmax(1)
                for y, row in zip(step.y.tolist(), soft.numpy(), strict=True):
                    epochs[-1].setdefault(y, []).append(row)
            return value

    made.loss = Watched(temperature=0.5)
    for _ in range(2):
        made.run_epoch(lambda _: None)
        assert sum(map(len, epochs[-1].values())) == 50
        for y, rows in epochs[-1].items():
            assert np.allclose(made.notes.last_means["gkl"][y].numpy(), np.mean(rows, 0), atol=1e-6)
        epochs.append({})


def test_a_resumed_run_is_the_same():
    """Killed after two epochs, it ends bit-equal; without the weights it would not."""
    straight, first, second, forgetful = trainer(), trainer(), trainer(), trainer()
    for _ in range(3):
        straight.run_epoch(lambda _: None)
    for _ in range(2):
        first.run_epoch(lambda _: None)
    file = io.BytesIO()
    torch.save(trainer_state(first), file)
    for one in (second, forgetful):
        file.seek(0)
        restore_trainer(one, torch.load(file, weights_only=True))
    forgetful.notes.last_means.clear()
    for one in (second, forgetful):
        one.run_epoch(lambda _: None)
    end = straight.model.state_dict()
    assert all(torch.equal(value, end[name]) for name, value in second.model.state_dict().items())
    assert torch.equal(straight.notes.last_means["gkl"], second.notes.last_means["gkl"])
    assert not torch.equal(end["head.weight"], forgetful.model.head.weight)


def test_extreme_logits():
    """Confident models give finite values and gradients."""
    torch.manual_seed(0)
    clean, adversarial = ((1e4 * torch.randn(4, 5)).requires_grad_() for _ in range(2))
    means = torch.eye(5)[[0, 1, 2, 3]]  # of classes without any doubt
    value = GKL(gamma=0.2)(GivenStep(clean, adversarial, torch.tensor([0, 1, 2, 3]), means))
    value.sum().backward()
    assert all(math.isfinite(v) for v in value.tolist())
    assert all(bool(z.grad.isfinite().all()) for z in (clean, adversarial))


@pytest.mark.parametrize("options", ["", ":temperature=1,gamma=0.2", ":alpha=0", ":beta=0"])
@pytest.mark.parametrize("classes", [2, 4])
def test_conformance(options, classes):
    """The suite that every loss has to pass."""
    check_loss(f"gkl{options}", classes)


@pytest.mark.parametrize("option", ["alpha=-1", "beta=-1", "temperature=0", "gamma=-1"])
def test_bad_options(option):
    """An option out of range is named."""
    with pytest.raises(UserError, match=option.partition("=")[0]):
        LOSSES.build(f"gkl:{option}")
