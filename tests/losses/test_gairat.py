"""GAIRAT: the vectors of its weights, the released formula by plain numbers, what kappa counts, the
burn-in, and training.
"""

from __future__ import annotations

import json
import math

import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from robbench.attacks.pgd import PGD
from robbench.catalogue.builtins import LOSSES
from robbench.core.errors import UserError
from robbench.losses.cross_entropy import CrossEntropy
from robbench.losses.gairat import GAIRAT
from robbench.models.base import Classifier
from robbench.testing import check_loss, toy_model, toy_split
from robbench.threat.model import parse_threat
from robbench.training.inner import Inner
from robbench.training.step import TrainStep

SPEC = "robbench.losses.gairat:GAIRAT"


@pytest.fixture
def late(fake_step):
    """Makes a step at some point of training whose attack the samples survived for kappa of `steps`
    steps.
    """

    def make(adversarial, y, kappa, steps=10, progress=0.9):
        step = fake_step(adversarial, y, adversarial, plain=False)
        step._adversary = step._adversary._replace(survived=torch.tensor(kappa), steps=steps)
        step.progress, step.logged = progress, {}
        step.log = step.logged.update
        return step

    return make


def plain_weights(kappa, steps, lam, func):
    """The released code's weights, normalised, by plain numbers."""
    half = steps // 2
    if func == "tanh":
        weights = [(math.tanh(lam + (half - k) * 5 / half) + 1) / 2 for k in kappa]
    elif func == "sigmoid":
        weights = [1 / (1 + math.exp(-(lam + (half - k) * 5 / half))) for k in kappa]
    else:
        weights = [(steps + 1 - k) / (steps + 1) for k in kappa]
    return [w * len(weights) / sum(weights) for w in weights]


@pytest.mark.parametrize(
    ("lam", "weights"),
    [
        (
            -1,
            [
                0.999665,
                0.997527,
                0.982014,
                0.880797,
                0.5,
                0.119203,
                0.017986,
                0.002473,
                0.000335,
                0.000045,
                0.000006,
            ],
        ),
        (
            0,
            [
                0.999955,
                0.999665,
                0.997527,
                0.982014,
                0.880797,
                0.5,
                0.119203,
                0.017986,
                0.002473,
                0.000335,
                0.000045,
            ],
        ),
    ],
)
def test_the_vectors(lam, weights):
    """The weights of kappa = 0..10 before they are normalised."""
    assert GAIRAT(lam=lam).log_weights(torch.arange(11), 10).exp().tolist() == pytest.approx(
        weights, abs=1e-6
    )


@pytest.mark.parametrize("func", ["tanh", "sigmoid", "discrete"])
@pytest.mark.parametrize(("steps", "lam"), [(10, -1.0), (10, 0.5), (4, -2.0), (20, 0.0)])
def test_it_is_the_transcription(late, func, steps, lam):
    """Values are the released code's for an even number of steps: normalised weights times
    cross-entropy.
    """
    generator = torch.Generator().manual_seed(steps)
    logits = 2 * torch.randn(7, 3, generator=generator, dtype=torch.float64)
    kappa = torch.randint(0, steps + 1, (7,), generator=generator).tolist()
    y = torch.tensor([0, 1, 2, 0, 1, 2, 0])
    step = late(logits, y.tolist(), kappa, steps)
    options = {} if func == "discrete" else {"lam": lam}
    values = GAIRAT(weight=func, **options)(step)
    ce = F.cross_entropy(logits, y, reduction="none").tolist()
    expected = [w * c for w, c in zip(plain_weights(kappa, steps, lam, func), ce, strict=True)]
    assert values.tolist() == pytest.approx(expected, rel=1e-5)
    assert step.logged["kappa"].tolist() == kappa


def test_an_odd_number_of_steps(late):
    """With one step the weights of kappa = 0 and 1 are those at the ends, with lam = -1: tanh(4)
    and tanh(-6).
    """
    found = GAIRAT().log_weights(torch.tensor([0, 1]), 1).exp().tolist()
    assert found == pytest.approx([(1 + math.tanh(4)) / 2, (1 + math.tanh(-6)) / 2], rel=1e-5)


def test_burn_in(late):
    """Before half of training the loss is adversarial cross-entropy, afterwards not.

    Kappa is logged all the time.
    """
    logits, y, kappa = (
        torch.randn(4, 3, generator=torch.Generator().manual_seed(0)),
        [0, 1, 2, 0],
        [0, 3, 7, 10],
    )
    for progress, same in ((0.0, True), (0.49, True), (0.51, False)):
        step = late(logits, y, kappa, progress=progress)
        assert torch.equal(GAIRAT()(step), CrossEntropy()(step)) is same
        assert step.logged["kappa"].tolist() == kappa
    step = late(logits, y, kappa)
    assert torch.equal(GAIRAT(burn_in=1)(step), CrossEntropy()(step))
    assert torch.allclose(
        GAIRAT(lam=1000)(step), CrossEntropy()(step)
    )  # the released code's way to switch weights off


@pytest.mark.parametrize("lam", [-1.0, -1000.0])
def test_weights_have_mean_one_and_no_gradient(late, lam):
    """Also where every weight underflows before it is normalised.

    The gradient is that of constant weights.
    """
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    y, kappa = torch.tensor([0, 1, 2, 0, 1]), [10, 10, 9, 10, 10]
    w = 5 * GAIRAT(lam=lam).log_weights(torch.tensor(kappa), 10).softmax(0)
    assert w.mean().item() == pytest.approx(1)
    (found,) = torch.autograd.grad(GAIRAT(lam=lam)(late(logits, y.tolist(), kappa)).sum(), logits)
    (expected,) = torch.autograd.grad(
        (w * F.cross_entropy(logits, y, reduction="none")).sum(), logits
    )
    assert torch.allclose(found, expected)
    assert torch.isfinite(found).all()


def test_confident_models(late):
    """Logits of +-1e4 give finite values and gradients in float32."""
    z = torch.tensor([[1e4, -1e4, 0.0]] * 2, requires_grad=True)
    value = GAIRAT()(late(z, [0, 1], [10, 0]))
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(z.grad).all()


def test_what_kappa_counts():
    """Kappa is the number of points before the first mistake: at most the released code's count of
    all correct points.

    Both agree on every sample that stays misclassified once it was.
    """
    model, split = toy_model(), toy_split(40)
    seen = []
    model.register_forward_hook(
        lambda module, inputs, logits: seen.append(logits.detach().argmax(1) == split.labels)
    )
    step = TrainStep(
        model,
        split.pixels(slice(None)),
        split.labels,
        torch.arange(40),
        key=split.ids,
        inner=Inner(PGD(steps=10), parse_threat("linf:0.05")[0]),
        epoch=0,
        progress=0.9,
    )
    kappa = step.adversary().survived
    assert len(seen) == 10
    correct = torch.stack(seen)  # [10,B]: start, 1, ..., 9
    before_first = correct.int().cumprod(0).sum(0)
    released = correct.sum(0)
    assert kappa.tolist() == before_first.tolist()
    assert bool((kappa <= released).all())
    assert 1 < len(set(kappa.tolist())) <= 11
    step.log = lambda **values: None
    value = GAIRAT()(step)
    ce = F.cross_entropy(step.out.logits, split.labels, reduction="none")
    assert torch.allclose(
        value, torch.tensor(plain_weights(kappa.tolist(), 10, -1.0, "tanh")) * ce, rtol=1e-4
    )


def test_a_sample_that_recovers():
    """One that is right, wrong, right, wrong ... under attack has kappa = 1, where the released
    code would count 5 of 10.
    """

    class Notch(nn.Module):
        def forward(self, x):
            margin = (
                x - 0.5
            ).abs() - 0.02  # wrong only close to 0.5, and steps of 0.1 jump over it and back
            return torch.cat([margin, -margin], 1)

    body, seen = Notch(), []
    body.register_forward_hook(lambda module, inputs, logits: seen.append(bool(logits[0, 0] > 0)))
    model = Classifier(nn.Identity(), body, nn.Identity(), features=2, classes=2)
    attack = PGD(steps=10, rate=0.5, init="clean")
    step = TrainStep(
        model,
        torch.tensor([[0.41]]),
        torch.tensor([0]),
        torch.tensor([0]),
        key=torch.tensor([0]),
        inner=Inner(attack, parse_threat("linf:0.2")[0]),
        epoch=0,
        progress=0.9,
    )
    assert step.adversary().survived.tolist() == [1]
    assert seen == [True, False] * 5


@pytest.mark.parametrize(
    "options", ["", ":burn_in=0", ":burn_in=0,weight=sigmoid", ":burn_in=0,weight=discrete"]
)
def test_it_conforms(options):
    """check_loss accepts it, with 2 and 4 classes."""
    for classes in (2, 4):
        check_loss(SPEC + options, classes)


def test_it_trains(cli, tmp_path):
    """A small network learns the digits, and the epochs table has the mean kappa."""
    line = (
        f"train --data digits --model mlp:width=32,depth=1 --loss {SPEC}:burn_in=0.3"
        " --epochs 5 -n 400 --lr 0.02 --name m --out"
    )
    done = cli(line, tmp_path)
    assert done.code == 0, done.err
    table = pd.read_parquet(tmp_path / "models/m/epochs.parquet")
    assert table.iloc[-1].clean_accuracy > 0.5
    kappa = [json.loads(row)["kappa"] for row in table.logs]
    assert 0 <= kappa[0] < kappa[-1] <= 10


@pytest.mark.parametrize(
    ("option", "value"), [("lam", "inf"), ("weight", "linear"), ("burn_in", "2")]
)
def test_bad_options(option, value):
    """An option of the wrong type or out of range is a UserError that names it."""
    with pytest.raises(UserError, match=option):
        LOSSES.build(f"{SPEC}:{option}={value}")
