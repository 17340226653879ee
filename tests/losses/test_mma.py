"""MMA: exact distances on linear models, a transcription of the released code sample by sample, its
memory, and training.
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
from robbench.core import keyed
from robbench.core.errors import UserError
from robbench.data.base import DataInfo
from robbench.losses.mma import MMA
from robbench.models.base import Classifier
from robbench.testing import check_loss, toy_model, toy_split
from robbench.threat.model import parse_threat
from robbench.training.inner import Inner
from robbench.training.notes import Notes
from robbench.training.step import TrainStep

SPEC = "robbench.losses.mma:MMA"
WIDTH = 6


def linear(scale=1.0):
    """Two classes; the margin of class 1 minus class 0 is scale * (sum of the first half - sum of
    the second half).
    """
    model = Classifier(
        nn.Identity(), nn.Identity(), nn.Linear(WIDTH, 2, bias=False), features=WIDTH, classes=2
    )
    with torch.no_grad():
        half = torch.tensor([1.0, 1, 1, -1, -1, -1]) * scale / 2
        model.head.weight.copy_(torch.stack([-half, half]))
    return model.eval()


def points(distances):
    """Inputs of class 1 in the middle of the box, at these Linf distances from the boundary of
    `linear` (negative: wrong).
    """
    towards = torch.tensor([1.0, 1, 1, -1, -1, -1])
    return 0.5 + torch.tensor(distances)[:, None] * towards


def step_of(
    model, x, y, eps=0.1, norm="linf", notes=None, epoch=0, steps=10, progress=0.5, warmup=0.0
):
    """A training step with its own keys for each epoch."""
    index = torch.arange(len(x))
    inner = Inner(PGD(steps=steps), parse_threat(f"{norm}:{eps}")[0], "eval", warmup)
    return TrainStep(
        model,
        x,
        y,
        index,
        key=keyed.fold(index, epoch),
        inner=inner,
        epoch=epoch,
        progress=progress,
        notes=notes,
    )


def remembered(step):
    """What the step's samples will be attacked with."""
    return step.notes.memory("mma", 0.0)


@pytest.mark.parametrize("scale", [0.3, 50.0])
def test_distances_of_a_linear_model_are_exact(scale):
    """The distance found is margin / ||w||_1 to the precision of ten halvings, whatever the scale
    of the logits; 0 if wrong.
    """
    exact = [0.02, 0.05, 0.1, 0.145, -0.05]
    step = step_of(linear(scale), points(exact), torch.ones(5, dtype=torch.long))
    MMA()(step)
    assert remembered(step)[:4].tolist() == pytest.approx(exact[:4], abs=1.05 * 0.15 / 2**9)
    assert float(remembered(step)[4]) == 0


def test_distances_in_l2():
    """In L2 the direction is that of PGD after ten steps: never shorter than margin / ||w||_2, and
    hardly longer.
    """
    exact = torch.tensor([0.02, 0.05, 0.1]) * math.sqrt(WIDTH)
    step = step_of(
        linear(), points([0.02, 0.05, 0.1]), torch.ones(3, dtype=torch.long), eps=0.25, norm="l2"
    )
    MMA(rounds=16)(step)
    ratio = remembered(step) / exact
    assert bool((ratio > 0.999).all())
    assert bool((ratio < 1.02).all())


def test_the_three_kinds_of_samples():
    """Near: log 2 at the boundary. Far, by 1.5 eps unless told otherwise: nothing. Wrong: the clean
    loss, whatever c.
    """
    x, y = points([0.1, 0.14, 0.16, -0.05]), torch.ones(4, dtype=torch.long)
    clean = F.cross_entropy(linear()(x), y, reduction="none").tolist()
    for c in (0.0, 1 / 3, 1.0):
        values = MMA(clean_weight=c)(step_of(linear(), x, y)).tolist()
        kinds = [math.log(2), math.log(2), 0.0, clean[3]]
        assert values == pytest.approx(
            [(1 - c) * k + c * v for k, v in zip(kinds, clean, strict=True)], abs=2e-3
        )
    values = MMA(d_max=0.12, clean_weight=0)(step_of(linear(), x, y)).tolist()
    assert values == pytest.approx([math.log(2), 0, 0, clean[3]], abs=2e-3)
    assert values[1:3] == [0, 0]


def test_a_sample_without_a_boundary_in_reach():
    """One whose margin holds everywhere ends between d_max and 1.05 d_max, and is left out."""
    step = step_of(linear(), points([0.4]), torch.ones(1, dtype=torch.long))
    assert MMA(clean_weight=0)(step).tolist() == [0]
    assert 0.15 < float(remembered(step)) <= 1.05 * 0.15


def slm(model, x, y):
    """The soft logit margin loss of one sample [1,*], by its definition."""
    z = model(x)[0]
    return torch.logsumexp(torch.cat([z[:y], z[y + 1 :]]), 0) - z[y]


def transcription(model, x, y, key, before, eps_min, d_max, steps, c):
    """The released code for one sample [1,*] in Linf, with our random start: its value and the
    distance to remember.
    """
    clean = F.cross_entropy(model(x), torch.tensor([y]))
    if slm(model, x, y) >= 0:
        return clean, 0.0
    top = 1.05 * d_max
    eps = min(max(eps_min, before), top)
    adversarial = (x + eps * (2 * keyed.uniform(key, x.shape[1:]) - 1)).clamp(0, 1)
    for _ in range(steps):
        adversarial = adversarial.detach().requires_grad_()
        (grad,) = torch.autograd.grad(slm(model, adversarial, y), adversarial)
        adversarial = adversarial.detach() + 2.5 * eps / steps * grad.sign()
        adversarial = torch.min(torch.max(adversarial, x - eps), x + eps).clamp(0, 1)
    unit = (adversarial - x) / eps
    low, high, here = 0.0, top, slm(model, adversarial, y)
    for _ in range(10):
        low, high = (max(eps, low), high) if here < 0 else (low, min(eps, high))
        eps = (low + high) / 2
        here = slm(model, (x + eps * unit).clamp(0, 1), y)
    margin = (
        F.cross_entropy(model((x + eps * unit).clamp(0, 1)), torch.tensor([y]))
        if eps < d_max
        else torch.zeros(())
    )
    return (1 - c) * margin + c * clean, eps


def test_it_is_the_transcription():
    """Three epochs of values, distances and weight gradients are those of the released code run
    sample by sample.
    """
    split, notes, before = toy_split(24), None, [0.0] * 24
    loss = MMA(d_max=0.08, eps_min=0.01)
    kinds = set()
    for epoch in range(3):
        model = toy_model(seed=epoch)  # as if it had been trained in between
        x, index = split.pixels(slice(None)), torch.arange(24)
        step = step_of(model, x, split.labels, notes=notes, epoch=epoch, steps=7)
        notes = step.notes
        values = loss(step)
        key = keyed.fold(index, epoch)
        plain = [
            transcription(
                model,
                x[n : n + 1],
                int(split.labels[n]),
                key[n : n + 1],
                before[n],
                0.01,
                0.08,
                7,
                1 / 3,
            )
            for n in range(24)
        ]
        before = [d for _, d in plain]
        expected = torch.stack([value for value, _ in plain])
        assert remembered(step).tolist() == pytest.approx(before, abs=1e-5)
        assert torch.allclose(values, expected, atol=1e-4)
        weights = list(model.parameters())
        for one, other in zip(
            torch.autograd.grad(values.mean(), weights),
            torch.autograd.grad(expected.mean(), weights),
            strict=True,
        ):
            assert torch.allclose(one, other, atol=1e-4)
        kinds |= {"wrong" if d == 0 else "near" if d < 0.08 else "far" for d in before}
    assert kinds == {"wrong", "near", "far"}


def test_the_attack_starts_from_what_is_remembered():
    """The budget is last turn's distance, within eps_min and 1.05 d_max.

    A sample that was wrong starts from eps_min.
    """
    x, y = points([0.06, 0.03, 0.4, -0.05]), torch.ones(4, dtype=torch.long)
    model, loss = linear(), MMA(d_max=0.1, eps_min=0.04)
    notes, asked = Notes(4, x.device), []
    for epoch in range(2):
        step = step_of(model, x, y, notes=notes, epoch=epoch)
        attack = step.adversary
        step.adversary = lambda objective, eps, attack=attack: (
            asked.append((objective, eps.tolist())) or attack(objective, eps)
        )
        loss(step)
    assert asked[0] == ("soft-margin", pytest.approx([0.04] * 4))
    assert asked[1] == ("soft-margin", pytest.approx([0.06, 0.04, 0.105, 0.04], abs=3e-4))


def test_defaults_follow_the_recipe():
    """Without options the budget is at least eps / 6 and d_max is 1.5 eps of that point of
    training; none at all is survived.
    """
    x, y = points([0.01, 0.4]), torch.ones(2, dtype=torch.long)
    step = step_of(linear(), x, y, eps=0.12, warmup=1.0, progress=0.5)  # half way up: 0.06
    asked, attack = [], step.adversary
    step.adversary = lambda objective, eps: asked.append(eps.tolist()) or attack(objective, eps)
    MMA()(step)
    assert asked == [pytest.approx([0.01, 0.01])]
    assert 0.09 < float(remembered(step)[1]) <= 1.05 * 0.09
    narrow = step_of(linear(), x, y, eps=0.12, warmup=1.0, progress=0.5, notes=step.notes)
    attack = narrow.adversary
    narrow.adversary = lambda objective, eps: asked.append(eps.tolist()) or attack(objective, eps)
    MMA(d_max=0.004)(narrow)
    assert asked[1] == pytest.approx([1.05 * 0.004] * 2)  # never beyond what is searched
    values = MMA()(step_of(linear(), x, y, eps=0.12, warmup=1.0, progress=0.0))
    assert values.tolist() == pytest.approx(
        (F.cross_entropy(linear()(x), y, reduction="none") / 3).tolist()
    )


def test_points_stay_in_the_box():
    """At the edge of the box the boundary is looked for inside, and no point outside is ever shown
    to the model.
    """
    model, seen = linear(), []
    model.body.register_forward_hook(lambda module, inputs, output: seen.append(output.detach()))
    x = torch.tensor([[0.1, 0.1, 0.9, 0.0, 0.1, 0.0]])
    MMA(d_max=2)(step_of(model, x, torch.ones(1, dtype=torch.long), eps=0.5))
    assert len(seen) == 1 + 10 + 10 + 1
    assert min(float(p.min()) for p in seen) == 0
    assert max(float(p.max()) for p in seen) <= 1


def test_confident_models():
    """Logits of +-1e4, right and wrong, give finite values and gradients."""
    model, x = linear(1e5), points([0.03, 0.4, -0.05])
    step = step_of(model, x, torch.ones(3, dtype=torch.long))
    assert float(step.clean.logits.detach().abs().max()) > 1e4
    value = MMA()(step)
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(model.head.weight.grad).all()


@pytest.mark.parametrize(
    "options", ["", ":d_max=12/255,eps_min=0.005", ":clean_weight=0", ":rounds=5"]
)
def test_it_conforms(options):
    """check_loss accepts it, with 2 and 4 classes."""
    for classes in (2, 4):
        check_loss(SPEC + options, classes)


def test_it_trains(cli, tmp_path):
    """A small network learns the digits, and the epochs table has the mean margin, which grows."""
    line = (
        f"train --data digits --model mlp:width=32,depth=1 --loss {SPEC}"
        " --epochs 5 -n 400 --lr 0.02 --name m --out"
    )
    done = cli(line, tmp_path)
    assert done.code == 0, done.err
    table = pd.read_parquet(tmp_path / "models/m/epochs.parquet")
    assert table.iloc[-1].clean_accuracy > 0.5
    margins = [json.loads(row)["mma_margin"] for row in table.logs]
    assert 0 <= margins[0] < margins[-1] < 1.05 * 1.5 * 0.15


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("d_max=0", "d_max"),
        ("eps_min=-1", "eps_min"),
        ("clean_weight=2", "clean_weight"),
        ("rounds=0", "rounds"),
    ],
)
def test_bad_options(options, named):
    """An option out of range is a UserError that names it."""
    with pytest.raises(UserError, match=named):
        LOSSES.build(f"{SPEC}:{options}")


def test_what_cannot_work_is_said_before_anything_is_written(cli, tmp_path):
    """A smallest budget above d_max, no inner attack, and one that cannot climb the soft margin."""
    info = DataInfo((1, 6, 6), ("a", "b"), (0.5,), (0.25,))
    with pytest.raises(UserError, match=r"eps_min=0.2 is above d_max=0.1"):
        MMA(d_max=0.1, eps_min=0.2).check(info)
    for loss, inner, words in (
        (SPEC, "none", "needs an inner attack"),
        (SPEC, "fgsm", "soft-margin"),
        (f"{SPEC}:d_max=0.1,eps_min=0.2", "pgd:steps=2", "is above d_max"),
    ):
        done = cli(f"train --data digits --loss {loss} --inner {inner} --out", tmp_path / "S")
        assert done.code == 2
        assert words in done.err
    assert not (tmp_path / "S").exists()
