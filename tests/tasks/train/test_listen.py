"""What a listener hears of a training: shares that rise to one, and the numbers of each epoch."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch

from robbench.tasks.listener import Bar, Listener
from robbench.tasks.train import listen
from robbench.tasks.train.listen import BarWatcher


class Heard(Bar, Listener):
    """Remembers all that is told."""

    def __init__(self) -> None:
        self.updates: list[tuple[float, str]] = []
        self.said: list[str] = []
        self.resumed: list[float] = []

    def update(self, share: float, text: str) -> None:
        self.updates.append((share, text))

    def resume(self, share: float) -> None:
        self.resumed.append(share)

    def say(self, text: str) -> None:
        self.said.append(text)

    detail = say


def _batch(epoch: int, samples: int, total: int = 100) -> Any:
    return SimpleNamespace(epoch=epoch, samples=samples, total=total, loss=0.25)


def _watcher(heard: Heard, epochs: int, inner_steps: int = 10) -> BarWatcher:
    """Of a training of so many epochs, with one batch of 100 samples each."""
    plan: Any = SimpleNamespace(
        name="m",
        device=torch.device("cpu"),
        config=SimpleNamespace(epochs=epochs, batch_size=100, eps_warmup=0.0),
        inner=SimpleNamespace(attack=SimpleNamespace(steps=inner_steps)),
    )
    return BarWatcher(heard, heard, plan)


def _epoch(n: int) -> dict[str, Any]:
    return {
        "epoch": n,
        "clean_accuracy": 0.5,
        "robust_accuracy": 0.25,
        "train_loss": 0.125,
        "seconds": 3.0,
        "logs": '{"adversarial_accuracy": 0.75}',
    }


def test_the_share_is_of_all_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches count within their epoch; the last epoch ends at one."""
    monkeypatch.setattr(listen, "REDRAW_SECONDS", -1.0)
    heard = Heard()
    watcher = _watcher(heard, 4)
    for epoch in range(4):
        for samples in (20, 60, 100):
            watcher.batch(_batch(epoch, samples))
        watcher.epoch(_epoch(epoch + 1))
    shares = [share for share, _ in heard.updates]
    expected = [
        (epoch + done) / 4 for epoch in range(4) for done in (0.2, 0.6, 1.0, 1.0)
    ]  # the epoch's own line repeats its end
    assert shares == pytest.approx(expected)
    assert "epoch 2/4, loss 0.250" in heard.updates[5][1]
    assert "val 50.0% clean 25.0% robust" in heard.updates[5][1]
    assert "val" not in heard.updates[0][1]
    assert heard.said[1] == "epoch 1: loss 0.1250, val 50.0% clean 25.0% robust, 3.0 s"


def test_a_bar_is_not_drawn_for_every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only when some time has passed since it was; an epoch's end always."""
    monkeypatch.setattr(listen, "REDRAW_SECONDS", 1e9)
    heard = Heard()
    watcher = _watcher(heard, 2)
    watcher.drawn = 0.0
    for samples in range(10):
        watcher.batch(_batch(0, samples))
    watcher.epoch(_epoch(1))
    assert [share for share, _ in heard.updates] == [0.5]


def test_a_resumed_training_says_from_where() -> None:
    """The bar is told the share that was done before."""
    heard = Heard()
    watcher = _watcher(heard, 8)
    watcher.begins(["one", "two"])
    watcher.resumed(6)
    watcher.waits("another process trains it")
    assert heard.resumed == [0.75]
    assert heard.said == ["one", "two", "going on after epoch 6", "another process trains it"]


def test_a_constant_prediction_is_said_once_and_in_time() -> None:
    """Not in the first steps, when nothing is learned yet; with what to do."""
    heard = Heard()
    watcher = _watcher(heard, 4)
    constant = {"clean_accuracy": 0.1, "robust_accuracy": 0.1, "predicted_classes": 1}
    for n in (1, 2, 3, 4):
        for _ in range(60):
            watcher.batch(_batch(n - 1, 100))
        watcher.epoch({**_epoch(n), **constant, "logs": '{"adversarial_accuracy": 0.11}'})
    (said,) = [text for text in heard.said if "stalled" in text]
    assert said.startswith("epoch 2: ")
    assert "eps_warmup=0.5" in said


@pytest.mark.parametrize(("inner_steps", "times"), [(1, 1), (10, 0)])
def test_catastrophic_overfitting_is_said_once(inner_steps: int, times: int) -> None:
    """At the first epoch that shows it, of single-step training only."""
    heard = Heard()
    watcher = _watcher(heard, 3, inner_steps)
    for n in (1, 2, 3):
        watcher.epoch(_epoch(n))
    said = [text for text in heard.said if "catastrophic" in text]
    assert len(said) == times
    assert all(text.startswith("epoch 1: 75%") for text in said)


@pytest.mark.slow
def test_a_training_that_overfits_says_so(cli: Any, tmp_path: Any) -> None:
    """FGSM at 0.3 on digits: its own points are learned, and steps of PGD still find others."""
    done = cli(
        "train --data digits --model small-cnn:width=16 --inner fgsm --threat linf:0.3 --epochs 40",
        *("--set", "select=last", "--name", "overfits", "--out", tmp_path),
    )
    assert done.code == 0
    assert done.err.count("catastrophic overfitting") == 1
    last = pd.read_parquet(tmp_path / "models" / "overfits" / "epochs.parquet").iloc[-1]
    assert json.loads(last.logs)["adversarial_accuracy"] > last.robust_accuracy + 0.25
