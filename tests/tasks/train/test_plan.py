"""Plans: which samples train and validate, and what reaches the inner attack."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
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


@pytest.mark.parametrize(("loss", "idle"), [("dyart", True), ("trades", False)])
def test_a_way_to_the_boundary_is_not_cut_short(plan, tmp_path, loss, idle):
    """A setting that stops the inner attack early is said to have no effect there."""
    made = plan(tmp_path, loss=loss, inner=None, inner_beyond=1)
    assert (f"loss {loss} takes all steps: inner_beyond has no effect" in made.notes) == idle


@pytest.fixture
def generated(tmp_path):
    """Makes a file of images that look like digits, and gives its spec."""

    def make(count=60, classes=10, side=8, seed=0, name="made"):
        draw = np.random.default_rng(seed)
        images = draw.integers(256, size=(count, 1, side, side), dtype=np.uint8)
        np.savez(tmp_path / f"{name}.npz", image=images, label=np.arange(count) % classes)
        return f"npz:{tmp_path / name}.npz,x=image,y=label"

    return make


def test_generated_data_are_part_of_the_identity(plan, generated, tmp_path):
    """Their samples and their share; what has no effect is not: nothing changes without them."""
    spec = generated()
    plain = plan(tmp_path)
    assert not any(key.startswith("generated") for key in plain.spec)
    idle = plan(tmp_path, generated_ratio=0.5)
    assert idle.identity == plain.identity
    assert "no generated data: generated_ratio has no effect" in idle.notes
    first, half = (
        plan(tmp_path, generated=spec),
        plan(tmp_path, generated=spec, generated_ratio=0.5),
    )
    again = plan(tmp_path, generated=generated(name="copy"))
    assert len(first.generated.split) == 60
    assert first.fingerprints["generated"] == again.fingerprints["generated"]
    generated(seed=1)
    other = plan(tmp_path, generated=spec)
    plans = (plain, first, half, other)
    assert len({each.identity for each in plans}) == 4


def test_training_with_generated_data_goes_on_where_it_stopped(
    cli, generated, same, stop_after_one_epoch, tiny, tmp_path
):
    """The same bits as without a stop, by the command; another share is another run."""
    words = [*tiny, "--set", f"generated={generated()}", "--set", "generated_ratio=0.4", "--out"]
    assert cli(*words, tmp_path / "A").code == 0
    stop_after_one_epoch([*words, tmp_path / "B"])
    assert cli(*words, tmp_path / "B").code == 0
    same(tmp_path / "B" / "models" / "m", tmp_path / "A" / "models" / "m")
    done = cli(*tiny, "--out", tmp_path / "A")
    assert done.code == 2
    assert "different: generated, generated_ratio" in done.err


@pytest.mark.parametrize(
    ("made", "more", "message"),
    [
        ({"classes": 12}, "", "has 12 classes, digits 10"),
        ({"side": 9}, "", "has samples of shape"),
        ({"count": 20}, "", "has 20 samples, and a batch takes 45"),
        ({}, "--set generated_ratio=0.999", "without a real sample"),
        ({}, "--set generated_ratio=1", "generated_ratio"),
        ({}, "--set generated=npz:nowhere.npz --limit 40", "twice"),
        (None, "--set generated=npz:nowhere.npz", "nowhere.npz"),
        (None, "--set generated=digits", "kept for validation are also in generated data digits"),
    ],
)
def test_generated_data_that_do_not_fit(cli, generated, tmp_path, made, more, message):
    """One line, before anything is written."""
    words = [] if made is None else ["--set", f"generated={generated(**made)}"]
    done = cli("train --model mlp --quiet --out", tmp_path / "S", *words, *more.split())
    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert message in done.err
    assert not (tmp_path / "S").exists()
