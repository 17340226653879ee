"""Plans: which samples train and validate, and what reaches the inner attack."""

from __future__ import annotations

from pathlib import Path

import torch

from robbench.attacks.pgd import PGD
from robbench.data.base import sample_ids
from robbench.data.load import load
from robbench.losses.base import Loss
from robbench.tasks.signals import StopFlag
from robbench.tasks.train.config import TrainConfig
from robbench.tasks.train.plan import plan_training
from robbench.tasks.train.run import train
from robbench.threat.model import parse_threat
from robbench.training.inner import Inner


def test_validation_is_taken_from_training_data(plan):
    """Training and validation samples are disjoint, make up the training split, and none is a test
    sample.
    """
    made = plan(Path("unused"), limit=None)
    ours, held_out = set(made.train.ids.tolist()), set(made.validation.ids.tolist())
    everything, test = (set(load("digits", split).ids.tolist()) for split in ("train", "test"))
    assert len(ours) + len(held_out) == len(everything) == 1200
    assert len(held_out) == 120
    assert ours | held_out == everything
    assert not ours & held_out
    assert not held_out & test
    assert not ours & test


class Spy(Loss):
    """Cross-entropy that remembers what it was shown."""

    def __init__(self):
        self.seen = []

    def __call__(self, step):
        from robbench.losses.cross_entropy import CrossEntropy

        images = (step.x * 16).round().to(torch.uint8).numpy()
        self.seen += sample_ids(images, step.y.numpy()).tolist()
        return CrossEntropy()(step)


def test_training_sees_every_training_sample_once_and_no_other(plan, silent, tmp_path):
    """In each epoch the loss sees each training image once, and never one of the validation
    split.
    """
    import dataclasses

    made, spy = plan(tmp_path, limit=None, epochs=1, batch_size=50), Spy()
    train(dataclasses.replace(made, loss=spy), force=False, watcher=silent, stop=StopFlag())
    assert sorted(spy.seen) == sorted(made.train.ids.tolist())
    assert not set(spy.seen) & set(made.validation.ids.tolist())


def test_differential_refuses_ten_classes(cli, tmp_path):
    """Ten classes are one clear line and exit 2, before anything is written."""
    done = cli("train", "--loss", "differential", "--out", tmp_path / "S")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "2 classes" in done.err
    assert not (tmp_path / "S").exists()


def test_inner_settings_reach_the_inner_attack(tmp_path):
    """Mode, warm-up and early stopping of a config are those of the plan."""
    settings = {
        "inner": "pgd:steps=2",
        "inner_mode": "train",
        "eps_warmup": 0.25,
        "inner_beyond": 1,
    }
    config = TrainConfig(data="digits", limit=40, **settings)
    plan = plan_training(
        config, name="m", out=tmp_path, device="cpu", data_dir=None, download=False
    )
    assert plan.inner == Inner(
        PGD(steps=2), parse_threat("linf:0.15")[0], mode="train", warmup=0.25, beyond=1
    )
