"""The loop: what it counts, and the mean that it reports."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch

from robbench.attacks.pgd import PGD
from robbench.losses.base import AVERAGE
from robbench.losses.cross_entropy import CrossEntropy
from robbench.losses.mma import MMA
from robbench.testing import toy_split
from robbench.training.inner import Inner
from robbench.training.trainer import Generated, Trainer


def test_forwards_and_backwards_of_an_epoch(split, validation, threat, recipe, plain_model):
    """The row counts sample evaluations of training: (N + 1) for N inner steps, over all
    batches.
    """
    inner = Inner(PGD(steps=4), threat)
    trainer = Trainer(
        plain_model(),
        CrossEntropy(),
        split,
        validation,
        recipe(batch_size=10),
        inner=inner,
        threat=threat,
    )
    row = trainer.run_epoch(lambda _: None)
    assert (row["n_forward"], row["n_backward"]) == (5 * 24, 5 * 24)


def test_train_loss_is_the_mean_over_samples(split, validation, threat, recipe, plain_model):
    """With a last batch of another size the epoch's loss is still the mean over samples, and
    `watch` sees it grow.
    """
    trainer = Trainer(
        plain_model(),
        CrossEntropy(),
        split,
        validation,
        recipe(batch_size=10, lr=1e-30),
        inner=None,
        threat=threat,
    )
    seen = []
    row = trainer.run_epoch(lambda p: seen.append((p.samples, p.total, float(p.loss))))
    x = split.images.float() / 255
    expected = float(torch.nn.functional.cross_entropy(plain_model()(x), split.labels).detach())
    assert row["train_loss"] == pytest.approx(expected, abs=1e-6)
    assert [(samples, total) for samples, total, _ in seen] == [(10, 24), (20, 24), (24, 24)]
    assert seen[-1][2] == pytest.approx(expected, abs=1e-6)


def test_the_inner_attack_keeps_fixed_entries(split, validation, threat, recipe, plain_model):
    """Of every batch, also from a random start."""
    free = torch.rand(split.images.shape[1:], generator=torch.Generator().manual_seed(0)) > 0.5
    seen = []

    class Watched(CrossEntropy):
        def __call__(self, step):
            seen.append((step.adversary().x != step.x).any(0))
            return super().__call__(step)

    trainer = Trainer(
        plain_model(),
        Watched(),
        dataclasses.replace(split, free=free),
        validation,
        recipe(batch_size=10),
        inner=Inner(PGD(steps=2), threat),
        threat=threat,
    )
    trainer.run_epoch(lambda _: None)
    assert torch.equal(torch.stack(seen).any(0), free)


class Taught(CrossEntropy):
    """Cross-entropy that keeps what its teacher says of the batch."""

    def __init__(self):
        object.__setattr__(self, "seen", [])

    def __call__(self, step):
        self.seen.append((step.x, step.teacher(step.x)))
        return super().__call__(step)


def answers(model, x):
    """In evaluation mode, of a copy."""
    with torch.no_grad():
        return copy.deepcopy(model).eval()(x)


def test_the_average_of_the_weights_as_a_teacher(split, validation, threat, recipe, norm_model):
    """At each step it is the average so far, by hand: before the first one the model itself."""
    loss = Taught()
    settings = recipe(batch_size=8, epochs=2, average="ema", ema_decay=0.3)
    trainer = Trainer(
        norm_model(), loss, split, validation, settings, inner=None, threat=threat, teacher=AVERAGE
    )
    averages = [norm_model()]

    def watch(progress):
        n, average = len(averages) - 1, copy.deepcopy(trainer.model)
        if n:
            d = min(0.3, (1 + n) / (10 + n))
            for name, value in average.state_dict().items():
                if value.is_floating_point():
                    value.mul_(1 - d).add_(averages[-1].state_dict()[name], alpha=d)
        averages.append(average)

    for _ in range(2):
        trainer.run_epoch(watch)
    assert len(loss.seen) == 6
    for (x, said), average in zip(loss.seen, averages, strict=False):
        assert torch.allclose(said, answers(average, x), atol=1e-5)
    x, said = loss.seen[-1]
    assert not torch.allclose(said, answers(averages[-3], x), atol=1e-3)


def test_a_model_as_a_teacher(split, validation, threat, recipe, norm_model):
    """It is asked as it is, at every step, and not changed; its forwards are in the row."""
    teacher, loss = norm_model(), Taught()
    with torch.no_grad():
        teacher.head.weight.mul_(2)
    before = copy.deepcopy(teacher)
    trainer = Trainer(
        norm_model(),
        loss,
        split,
        validation,
        recipe(batch_size=10),
        inner=None,
        threat=threat,
        teacher=teacher,
    )
    row = trainer.run_epoch(lambda _: None)
    assert (row["n_forward"], row["n_backward"]) == (2 * 24, 24)
    assert len(loss.seen) == 3
    assert all(torch.equal(said, answers(before, x)) for x, said in loss.seen)
    for name, value in before.state_dict().items():
        assert torch.equal(teacher.state_dict()[name], value), name


def test_an_epoch_with_generated_samples(split, validation, threat, recipe, plain_model):
    """24 real ones and 16 generated in batches of 3 + 2: the loss is the mean over all 40, and
    progress counts them.
    """
    made = toy_split(20, 4, (1, 6, 6), seed=2)
    settings = recipe(batch_size=5, lr=1e-30)
    trainer = Trainer(
        plain_model(),
        CrossEntropy(),
        split,
        validation,
        settings,
        inner=None,
        threat=threat,
        generated=Generated(made, 0.4),
    )
    seen = []
    row = trainer.run_epoch(seen.append)
    assert [(step.samples, step.total) for step in seen] == [(5 * n, 40) for n in range(1, 9)]
    assert row["n_forward"] == 40
    index = torch.cat([batch[2] for batch in trainer.loader.epoch(0)])
    x, y = (
        torch.cat([split.pixels(slice(None)), made.pixels(slice(None))]),
        torch.cat([split.labels, made.labels]),
    )
    with torch.no_grad():
        values = torch.nn.functional.cross_entropy(plain_model()(x[index]), y[index])
    assert row["train_loss"] == pytest.approx(float(values), rel=1e-5)


def test_generated_samples_are_remembered_too(split, validation, threat, recipe, plain_model):
    """A loss with a memory of each sample keeps those of generated ones beside the real ones."""
    made = toy_split(30, 4, (1, 6, 6), seed=2)
    trainer = Trainer(
        plain_model(),
        MMA(),
        split,
        validation,
        recipe(batch_size=6, awp=0.005),
        inner=Inner(PGD(steps=2, objective="soft-margin"), threat),
        threat=threat,
        generated=Generated(made, 0.5),
    )
    trainer.run_epoch(lambda _: None)
    known = ~trainer.notes.memories["mma"].isnan()
    assert len(known) == 54
    assert bool(known[:24].all())
    used = torch.cat([batch[2] for batch in trainer.loader.epoch(0)])
    assert sorted(used.tolist()) == known.nonzero()[:, 0].tolist()
    assert len(used) == 48
