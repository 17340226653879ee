"""MAIL: the vectors of its weights, transcriptions with plain numbers, the burn-in, what carries
gradient, and training.
"""

from __future__ import annotations

import json
import math

import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from robbench.catalogue.builtins import LOSSES
from robbench.core.errors import UserError
from robbench.losses.cross_entropy import CrossEntropy
from robbench.losses.mail import MAILAT, MAILTRADES
from robbench.losses.trades import TRADES, kl
from robbench.testing import check_loss

AT, TR = "robbench.losses.mail:MAILAT", "robbench.losses.mail:MAILTRADES"


@pytest.fixture
def late(fake_step):
    """Makes a step at some point of training, after any burn-in by default, that keeps what is
    logged.
    """

    def make(clean, y, adversarial, progress=0.9):
        step = fake_step(clean, y, adversarial, plain=False)
        step.progress, step.logged = progress, {}
        step.log = step.logged.update
        return step

    return make


def softmax(z):
    """Probabilities of one sample."""
    return [math.exp(v) / sum(map(math.exp, z)) for v in z]


def margin(z, y):
    """PM of one sample, in the released code's sign."""
    p = softmax(z)
    return max(v for k, v in enumerate(p) if k != y) - p[y]


def random_logits(n, classes, seed):
    """[n,classes] in double precision."""
    return 2 * torch.randn(
        n, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


@pytest.mark.parametrize(
    ("which", "y", "pm", "at", "trades"),
    [
        ("z", 0, -0.551655, 0.000081, 0.747360),
        ("z", 2, 0.551655, 1.879024, 2.252640),
        ("a", 0, 0.179050, 0.116429, 1.765741),
        ("a", 2, -0.179050, 0.003369, 1.234259),
    ],
)
def test_the_vectors(late, request, which, y, pm, at, trades):
    """PM and the weights of both defaults: the published command lines, with the factor 3."""
    logits = request.getfixturevalue(which)
    step = late(logits, [y], logits)
    assert MAILAT().weights(step, logits).item() == pytest.approx(at, abs=1e-5)
    assert MAILTRADES().weights(step, logits).item() == pytest.approx(trades, abs=1e-5)
    assert step.logged["probabilistic_margin"].item() == pytest.approx(pm, abs=1e-5)


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("normalise", ["factor", "batch"])
def test_they_are_the_transcriptions(late, classes, normalise):
    """Values are those of plain loops over samples, for both normalisations and other slopes and
    biases.
    """
    clean, adversarial = random_logits(9, classes, 1), random_logits(9, classes, 2)
    y = [n % classes for n in range(9)]
    raw = [
        1 / (1 + math.exp(-3.5 * (margin(q, k) + 0.2)))
        for q, k in zip(adversarial.tolist(), y, strict=True)
    ]
    weights = [3 * w for w in raw] if normalise == "factor" else [w * 9 / sum(raw) for w in raw]
    options = {"slope": 3.5, "bias": 0.2, "normalise": normalise}
    at, trades = [], []
    for w, z, q, k in zip(weights, clean.tolist(), adversarial.tolist(), y, strict=True):
        p, p_adv = softmax(z), softmax(q)
        at.append(w * -math.log(p_adv[k]))
        trades.append(
            -math.log(p[k])
            + 4 * w * sum(u * math.log(u / v) for u, v in zip(p, p_adv, strict=True))
        )
    step = late(clean, y, adversarial)
    assert MAILAT(**options)(step).tolist() == pytest.approx(at, rel=1e-10)
    assert step.asked == [None]
    step = late(clean, y, adversarial)
    assert MAILTRADES(beta=4, **options)(step).tolist() == pytest.approx(trades, rel=1e-10)
    assert step.asked == ["kl-from-clean"]


def test_before_the_end_of_the_burn_in_they_are_the_plain_losses(late):
    """MAIL-AT is adversarial cross-entropy and MAIL-TRADES is TRADES up to 75/120 of training, and
    neither afterwards.
    """
    clean, adversarial, y = random_logits(6, 4, 1), random_logits(6, 4, 2), [0, 1, 2, 3, 0, 1]
    for loss, plain in ((MAILAT(), CrossEntropy()), (MAILTRADES(beta=3), TRADES(beta=3))):
        for progress, same in ((0.0, True), (0.624, True), (0.626, False), (1.0, False)):
            step = late(clean, y, adversarial, progress)
            assert torch.allclose(loss(step), plain(step)) is same, progress
    step = late(clean, y, adversarial, 0.1)
    assert not torch.allclose(MAILAT(burn_in=0.1)(step), CrossEntropy()(step))


def test_a_steeper_slope_favours_misclassified_samples(late, z):
    """The sign: the sample that is more wrong gets the larger weight, and bias=-0.5 puts the middle
    at PM = 0.5.
    """
    weights = MAILAT().weights(late(z.expand(2, -1), [0, 1], z.expand(2, -1)), z.expand(2, -1))
    assert weights[1] > 100 * weights[0]
    half = torch.tensor([[math.log(0.75), math.log(0.25)]])  # PM = 0.5 for y = 1
    assert MAILAT().weights(late(half, [1], half), half).item() == pytest.approx(1.5, abs=1e-5)


@pytest.mark.parametrize("normalise", ["factor", "batch"])
def test_the_weights_carry_no_gradient(late, normalise):
    """Gradients are those of the plain losses times constant weights."""
    clean, adversarial = (
        random_logits(5, 3, 1).requires_grad_(),
        random_logits(5, 3, 2).requires_grad_(),
    )
    y = torch.tensor([0, 1, 2, 0, 1])
    step = late(clean, y.tolist(), adversarial)
    loss = MAILAT(normalise=normalise)
    w = loss.weights(step, adversarial)
    assert not w.requires_grad
    (found,) = torch.autograd.grad(loss(step).sum(), adversarial)
    (expected,) = torch.autograd.grad(
        (w * F.cross_entropy(adversarial, y, reduction="none")).sum(), adversarial
    )
    assert torch.allclose(found, expected)
    loss = MAILTRADES(normalise=normalise)
    w = loss.weights(step, adversarial)
    found = torch.autograd.grad(loss(step).sum(), (clean, adversarial))
    plain = F.cross_entropy(clean, y, reduction="none") + 5 * w * kl(clean, adversarial)
    for one, other in zip(
        found, torch.autograd.grad(plain.sum(), (clean, adversarial)), strict=True
    ):
        assert torch.allclose(one, other)
        assert one.abs().max() > 0.01


@pytest.mark.parametrize(
    "loss",
    [MAILAT(), MAILAT(normalise="batch"), MAILTRADES(), MAILTRADES(normalise="batch", slope=1000)],
)
def test_confident_models(late, loss):
    """Logits of +-1e4 and weights that all underflow give finite values and gradients in float32.

    A batch mean stays 1.
    """
    z = torch.tensor([[1e4, -1e4, 0.0]] * 3, requires_grad=True)
    step = late(z, [0, 0, 0], -1 * z)
    value = loss(step)
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(z.grad).all()
    if loss.normalise == "batch":
        assert loss.weights(step, z).mean().item() == pytest.approx(1)


@pytest.mark.parametrize("spec", [AT, TR])
def test_they_conform(spec):
    """check_loss accepts them, and which ones look at the whole batch is declared."""
    check_loss(spec)
    check_loss(f"{spec}:burn_in=0", 2)
    check_loss(f"{spec}:burn_in=0,normalise=batch")
    assert not LOSSES.build(spec).batch_coupled
    assert LOSSES.build(f"{spec}:normalise=batch").batch_coupled


@pytest.mark.parametrize("spec", [AT, TR])
def test_they_train(cli, tmp_path, spec):
    """A small network learns the digits, and the epochs table has the mean margin, which falls."""
    line = (
        f"train --data digits --model mlp:width=32,depth=1 --loss {spec}:burn_in=0.3"
        " --epochs 5 -n 400 --lr 0.02 --name m --out"
    )
    done = cli(line, tmp_path)
    assert done.code == 0, done.err
    table = pd.read_parquet(tmp_path / "models/m/epochs.parquet")
    assert table.iloc[-1].clean_accuracy > 0.5
    margins = [json.loads(row)["probabilistic_margin"] for row in table.logs]
    assert -1 <= margins[-1] < margins[0] <= 1


@pytest.mark.parametrize(
    ("option", "value"),
    [("slope", "x"), ("burn_in", "1.1"), ("burn_in", "-0.1"), ("normalise", "paper")],
)
def test_bad_options(option, value):
    """An option of the wrong type or out of range is a UserError that names it."""
    for spec in (AT, TR):
        with pytest.raises(UserError, match=option):
            LOSSES.build(f"{spec}:{option}={value}")
    with pytest.raises(UserError, match="beta"):
        LOSSES.build(f"{TR}:beta=-1")


def test_a_recipe_without_an_inner_attack_is_refused(cli, tmp_path):
    """`--inner none` is answered before anything is written."""
    for spec in (AT, TR):
        done = cli(f"train --data digits --loss {spec} --inner none --out", tmp_path / "S")
        assert done.code == 2
        assert "needs an inner attack" in done.err
    assert not (tmp_path / "S").exists()
