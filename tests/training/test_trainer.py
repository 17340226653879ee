"""The loop: what it counts, and the mean that it reports."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from robbench.attacks.pgd import PGD
from robbench.losses.cross_entropy import CrossEntropy
from robbench.training.inner import Inner
from robbench.training.trainer import Trainer


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
