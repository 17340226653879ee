"""Trainings on disk: resumed after signals, kills and crashes, and finished ones found again."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from robbench.data.load import load
from robbench.training.trainer import Trainer


def test_killed_and_resumed_is_bit_equal(spawn, cli, tiny, tmp_path, reference, same, killer):
    """SIGKILL in the second epoch, then the same command again: weights and epochs of the
    uninterrupted run, bit by bit.
    """
    killed = spawn(*tiny, "--out", tmp_path, code=killer)
    assert killed.code == -signal.SIGKILL
    folder = tmp_path / "models" / "m"
    assert json.loads((folder / "config.json").read_text())["status"] == "training"
    assert not (folder / "model.safetensors").exists()
    again = cli(*tiny, "--out", tmp_path)
    assert again.code == 0
    assert "going on after epoch 1" in again.err
    same(folder, reference)


RUNNING = """
import dataclasses
from robbench.losses.cross_entropy import CrossEntropy

@dataclasses.dataclass(frozen=True, kw_only=True)
class Running(CrossEntropy):
    def __call__(self, step):
        values = super().__call__(step)
        before = step.memory("mean", 1.0)
        step.remember("mean", 0.5 * before + 0.5 * values)
        step.log(before=before)
        return values * before
"""


@pytest.mark.parametrize(
    ("more", "averaged"),
    [
        (
            "--set average=ema --set ema_decay=0.9 --set awp=0.01 --set clip=0.5",
            3,
        ),  # 135 samples in batches of 64
        pytest.param("--set average=swa --set mixup=1 --set warmup=0.5", 0, marks=pytest.mark.slow),
    ],
    ids=["ema", "swa"],
)
def test_averages_and_memories_survive_a_kill(
    spawn, cli, tiny, private, tmp_path, same, rows_of, killer, more, averaged
):
    """SIGKILL in the second epoch of a loss that remembers, with an average: resumed, it ends with
    the same bits.
    """
    epochs = "4" if "swa" in more else "3"  # stochastic averages are of the last quarter
    words = [
        *(epochs if word == "3" else word for word in tiny),
        "--loss",
        "running:Running",
        *more.split(),
    ]
    cwd = private("running", RUNNING)
    assert cli(*words, "--out", tmp_path / "straight", cwd=cwd).code == 0
    assert spawn(*words, "--out", tmp_path, code=killer, cwd=cwd).code == -signal.SIGKILL
    folder = tmp_path / "models" / "m"
    state = torch.load(folder / "state.pt", weights_only=True)
    assert len(state["memories"]["mean"].unique()) > 100
    assert int(state["average"]["n_averaged"]) == averaged
    again = cli(*words, "--out", tmp_path, cwd=cwd)
    assert again.code == 0, again.err
    assert "going on after epoch 1" in again.err
    same(folder, tmp_path / "straight" / "models" / "m")
    assert [json.loads(row["logs"])["before"] == 1 for row in rows_of(folder / "epochs.parquet")][
        :2
    ] == [True, False]


@pytest.mark.parametrize("forgotten", ["memories", "average"])
def test_what_a_state_holds_is_needed(
    stop_after_one_epoch, cli, tiny, private, tmp_path, monkeypatch, forgotten
):
    """What a loss remembered, and the average so far, do decide what a resumed run gives:
    forgotten, it ends elsewhere.
    """
    cwd, ends = private("running", RUNNING), []
    for forget in (False, True):
        words = [
            *tiny,
            *shlex.split("--loss running:Running --set average=ema --set select=best --out"),
            tmp_path / str(forget),
        ]
        stop_after_one_epoch(words, cwd=cwd)
        folder = tmp_path / str(forget) / "models" / "m"
        state = torch.load(folder / "state.pt", weights_only=True)
        if forget:
            state[forgotten] = (
                {}
                if forgotten == "memories"
                else {key: 0 * value for key, value in state[forgotten].items()}
            )
        torch.save(state, folder / "state.pt")
        assert cli(*words, cwd=cwd).code == 0
        ends.append((folder / "last.safetensors").read_bytes())
    assert ends[0] != ends[1]


def test_sigterm_from_outside(environment, tiny, tmp_path):
    """SIGTERM to a running process ends it with 143, without a traceback, and prints the command to
    go on with.
    """
    words = ["5000" if word == "3" else word for word in tiny] + ["--out", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "robbench", *words],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    state, deadline = tmp_path / "models" / "m" / "state.pt", time.monotonic() + 60
    while not state.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert out == ""
    assert "Traceback" not in err
    assert f"robbench {' '.join(words)}" in err
    done = json.loads((tmp_path / "models" / "m" / "config.json").read_text())
    assert done["status"] == "training"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_keeps_finished_epochs(cli, tiny, tmp_path, reference, same, monkeypatch, number):
    """A signal in the second epoch gives 143 or 130 and the resume command.

    The same command then ends with the same bits.
    """
    original = Trainer.run_epoch

    def run_epoch(self, watch):
        def signalled(progress):
            if progress.epoch == 1:
                os.kill(os.getpid(), number)
            watch(progress)

        return original(self, signalled)

    monkeypatch.setattr(Trainer, "run_epoch", run_epoch)
    before = signal.getsignal(number)
    stopped = cli(*tiny, "--out", tmp_path)
    assert signal.getsignal(number) is before
    monkeypatch.undo()
    assert stopped.code == 128 + number
    assert stopped.out == ""
    assert f"robbench {' '.join(tiny)} --out {tmp_path}" in stopped.err
    again = cli(*tiny, "--out", tmp_path)
    assert (again.code, "going on after epoch 1" in again.err) == (0, True)
    same(tmp_path / "models" / "m", reference)


class Crash(BaseException):
    """Stands for the power that goes."""


def crash_at(monkeypatch, number):
    """Let the number-th replacement of a file be the last thing that never happened.

    Counts them all.
    """
    replace, calls = Path.replace, []

    def guarded(self, target):
        if len(calls) == number:
            raise Crash
        calls.append(target)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", guarded)
    return calls


def test_a_crash_before_any_write_loses_nothing(cli, tiny, tmp_path, reference, same, monkeypatch):
    """Whichever write is the one that does not happen any more, the same command again ends with
    the same bits.
    """
    calls = crash_at(monkeypatch, -1)
    assert cli(*tiny, "--out", tmp_path / "all").code == 0
    monkeypatch.undo()
    assert len(calls) > 8
    for number in range(len(calls)):
        out = tmp_path / str(number)
        crash_at(monkeypatch, number)
        with pytest.raises(Crash):
            cli(*tiny, "--out", out, env={"ROBBENCH_DEBUG": "1"})  # else it is a user's error
        monkeypatch.undo()
        again = cli(*tiny, "--out", out)
        assert again.code == 0, (number, calls[number], again.err)
        same(out / "models" / "m", reference)


def test_finished_is_not_done_again(cli, store, snapshot):
    """The same command on a finished model does nothing, says so and touches no file.

    --force does it again, to the same bits.
    """
    words = shlex.split("train --data digits --loss cross-entropy --epochs 2 --name ce --out")
    before = snapshot(store)
    again = cli(*words, store)
    assert again.code == 0
    assert "nothing to do" in again.err
    assert "--force" in again.err
    assert snapshot(store) == before
    forced = cli(*words, store, "--force")
    assert forced.code == 0
    assert "nothing to do" not in forced.err
    after = snapshot(store)
    weights = "models/ce/model.safetensors"
    assert after[weights][0] > before[weights][0]
    assert after[weights][1] == before[weights][1]


def test_differential_from_end_to_end(cli, tmp_path):
    """Two classes, one-score head: trained, saved with its fitted threshold, loaded again and
    attacked.
    """
    words = shlex.split(
        "train --data digits[1,8] --loss differential:form=square --model mlp:depth=0"
        " --epochs 3 --name d --out"
    )
    assert cli(*words, tmp_path).code == 0
    weights = load_file(tmp_path / "models" / "d" / "model.safetensors")
    assert float(weights["head.bias"]) != 0
    done = cli("attack d --attack pgd:steps=5 --threat l2:0.5 --json --out", tmp_path)
    (row,) = done.json["rows"]
    # An independent look at the same weights: a linear classifier on normalised pixels.
    test = load("digits[1,8]", "test")
    config = json.loads((tmp_path / "models" / "d" / "config.json").read_text())
    x = (test.images.float() / 16 - config["mean"][0]) / config["std"][0]
    predicted = x.flatten(1) @ weights["head.weight"][0] + weights["head.bias"] > 0
    assert row["clean_accuracy"] == pytest.approx(
        float((predicted == (test.labels == 1)).float().mean())
    )
    assert row["data"] == "digits[1,8]"


def test_a_loss_that_diverges(cli, tmp_path):
    """A loss that becomes NaN is exit 3 with one line that names the epoch.

    The same command may be given again.
    """
    words = [
        *shlex.split("train --model mlp --limit 150 --epochs 4 --lr 1e30 --name m --quiet --out"),
        tmp_path,
    ]
    for _ in range(2):
        done = cli(*words)
        assert (done.code, done.err.count("\n"), done.err[:6]) == (3, 1, "error:"), done.err
        assert "epoch 1" in done.err or "epoch 2" in done.err
    assert not (tmp_path / "models" / "m" / "model.safetensors").exists()


ILL = """
import dataclasses, math
from robbench.losses.cross_entropy import CrossEntropy

@dataclasses.dataclass(frozen=True, kw_only=True)
class Ill(CrossEntropy):
    epoch: int = 2

    def __call__(self, step):
        ill = step.epoch == self.epoch and step.progress > 0.6
        return super().__call__(step) * (math.nan if ill else 1)
"""


def test_nan_keeps_the_last_good_checkpoint(cli, private, tmp_path, snapshot, rows_of):
    """NaN in the third epoch: exit 3 and one line that says what is kept.

    Weights, epochs and state of the second stay.
    """
    cwd, out = private("ill", ILL), tmp_path / "S"
    words = [
        *shlex.split(
            "train --loss ill:Ill --model mlp:width=8,depth=1 --limit 150"
            " --epochs 4 --name m --quiet --out"
        ),
        out,
    ]
    done = cli(*words, cwd=cwd)
    assert (done.code, done.out, done.err.count("\n")) == (3, "", 1), done.err
    assert done.err.startswith(
        "error: the loss became nan in epoch 3 (epoch 2, the last good one, is kept as @last)"
    )
    folder = out / "models" / "m"
    kept = ["best.safetensors", "config.json", "epochs.parquet", "last.safetensors", "state.pt"]
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == kept
    state, last = (
        torch.load(folder / "state.pt", weights_only=True),
        load_file(folder / "last.safetensors"),
    )
    assert state["epoch"] == 2
    assert all(tensor.equal(state["model"][name]) for name, tensor in last.items())
    assert all(
        tensor.isfinite().all()
        for weights in (last, load_file(folder / "best.safetensors"))
        for tensor in weights.values()
    )
    assert [row["epoch"] for row in rows_of(folder / "epochs.parquet")] == [1, 2]
    attack = shlex.split("--attack fgsm --limit 20 --out")
    assert cli("attack", "m", *attack, out, cwd=cwd).code == 2  # not finished
    assert cli("attack", "m@last", *attack, out, cwd=cwd).code == 0
    before = {name: content for name, (_, content) in snapshot(out).items()}
    assert cli(*words, cwd=cwd).err == done.err  # it goes on after epoch 2, to the same end
    assert {name: content for name, (_, content) in snapshot(out).items()} == before
    assert (
        cli(
            *(word.replace("ill:Ill", "ill:Ill:epoch=9") for word in map(str, words)),
            "--force",
            cwd=cwd,
        ).code
        == 0
    )


REFUSING = """
import dataclasses
from robbench.losses.cross_entropy import CrossEntropy

@dataclasses.dataclass(frozen=True, kw_only=True)
class Refusing(CrossEntropy):
    def __call__(self, step):
        return step.teacher(step.x)[:, 0]
"""


def test_a_loss_that_refuses_its_first_batch_costs_no_finished_model(
    cli, tiny, tmp_path, snapshot, monkeypatch
):
    """Also with --force; without an earlier run nothing is left."""
    (tmp_path / "refusing.py").write_text(REFUSING)
    monkeypatch.syspath_prepend(tmp_path)
    mine = ["--loss", "refusing:Refusing", "--trust-code"]
    out = tmp_path / "S"
    assert cli(*tiny, "--out", out).code == 0
    before = snapshot(out / "models" / "m")
    for name, left in (("m", before), ("n", None)):
        words = [*tiny[:-1], name]
        done = cli(*words, *mine, "--force", "--out", out)
        assert (done.code, "no teacher" in done.err) == (2, True), done.err
        folder = out / "models" / name
        assert (snapshot(folder) if folder.exists() else None) == left
