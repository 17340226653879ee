"""Trainings to compare with, and to stop half-way."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from robbench.tasks.train.config import TrainConfig
from robbench.tasks.train.plan import plan_training
from robbench.training.trainer import Trainer

KILLER = """
import os, signal, sys
from robbench.training.trainer import Trainer
from robbench.cli.app import main
original = Trainer.run_epoch
def run_epoch(self, watch):
    def deadly(progress):
        watch(progress)
        if progress.epoch == 1:  # in the middle of the second epoch
            os.kill(os.getpid(), signal.SIGKILL)
    return original(self, deadly)
Trainer.run_epoch = run_epoch
sys.argv = ["robbench", *sys.argv[1:]]
main()
"""


@pytest.fixture(scope="session")
def killer():
    """Code that kills a training in its second epoch: `spawn(*words, code=killer)`."""
    return KILLER


@pytest.fixture(scope="module")
def reference(cli, tiny, tmp_path_factory):
    """The tiny training, uninterrupted."""
    out = tmp_path_factory.mktemp("reference")
    done = cli(*tiny, "--out", out)
    assert done.code == 0, done.err
    return out / "models" / "m"


@pytest.fixture
def same(rows_of):
    """Checks that two model folders hold the same bits, but for times, addresses and provenance."""

    def check(ours: Path, theirs: Path) -> None:
        assert sorted(path.name for path in ours.iterdir()) == sorted(
            path.name for path in theirs.iterdir()
        )
        for file in theirs.glob("*.safetensors"):
            assert (ours / file.name).read_bytes() == file.read_bytes(), file.name
        assert rows_of(ours / "epochs.parquet", "seconds") == rows_of(
            theirs / "epochs.parquet", "seconds"
        )
        mine, other = (
            json.loads((folder / "config.json").read_text()) for folder in (ours, theirs)
        )
        assert {**mine, "provenance": 0} == {**other, "provenance": 0}

    return check


@pytest.fixture
def stop_after_one_epoch(cli, monkeypatch):
    """Runs a command that is asked to stop in its second epoch."""

    def stop(words, cwd=None):
        """Run a training command that is told to stop when its second epoch begins."""
        original = Trainer.run_epoch

        def run_epoch(self, watch):
            if self.epoch == 1:
                os.kill(os.getpid(), signal.SIGTERM)
            return original(self, watch)

        monkeypatch.setattr(Trainer, "run_epoch", run_epoch)
        assert cli(*words, cwd=cwd).code == 143
        monkeypatch.undo()

    return stop


@pytest.fixture
def unfinished(stop_after_one_epoch, tiny, tmp_path):
    """An output folder with a training that stopped after its first epoch."""
    stop_after_one_epoch([*tiny, "--out", tmp_path / "U"])
    return tmp_path / "U"


class Silent:
    """A watcher that watches nothing."""

    def batch(self, progress):
        pass

    def epoch(self, row):
        pass

    def begins(self, notes):
        pass

    def resumed(self, epoch):
        pass

    def waits(self, text):
        pass


@pytest.fixture
def silent():
    """A watcher that watches nothing."""
    return Silent()


@pytest.fixture
def plan():
    """Makes a small plan of some settings in a folder."""

    def make(out, **settings):
        usual = {"model": "mlp:width=8,depth=1", "limit": 150, "epochs": 2}
        return plan_training(
            TrainConfig(**{**usual, **settings}),
            name="m",
            out=out,
            device="cpu",
            data_dir=None,
            download=False,
        )

    return make
