"""Training runs on disk: what they leave, resume, refuse and never touch."""

from __future__ import annotations

import json
import os
import pickle
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from robbench.attacks.pgd import PGD
from robbench.data.base import sample_ids
from robbench.data.load import load
from robbench.losses.base import Loss
from robbench.store.run import read_run
from robbench.tasks.signals import StopFlag
from robbench.tasks.train.config import TrainConfig
from robbench.tasks.train.plan import plan_training
from robbench.tasks.train.run import train
from robbench.threat.model import parse_threat
from robbench.training.inner import Inner
from robbench.training.trainer import Trainer
from robbench.training.validation import Validation


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


def plan(out, **settings):
    usual = {"model": "mlp:width=8,depth=1", "limit": 150, "epochs": 2}
    return plan_training(
        TrainConfig(**{**usual, **settings}),
        name="m",
        out=out,
        device="cpu",
        data_dir=None,
        download=False,
    )


# -- resume
# --------------------------------------------------------------------------------------------------------------

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


def test_killed_and_resumed_is_bit_equal(spawn, cli, tiny, tmp_path, reference, same):
    """SIGKILL in the second epoch, then the same command again: weights and epochs of the uninterrupted run, bit by bit."""
    killed = spawn(*tiny, "--out", tmp_path, code=KILLER)
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
        ("--set average=swa --set mixup=1 --set warmup=0.5", 0),
    ],
    ids=["ema", "swa"],
)
def test_averages_and_memories_survive_a_kill(
    spawn, cli, tiny, private, tmp_path, same, rows_of, more, averaged
):
    """SIGKILL in the second epoch of a loss that remembers, with an average: resumed, it ends with the same bits."""
    epochs = "4" if "swa" in more else "3"  # stochastic averages are of the last quarter
    words = [
        *(epochs if word == "3" else word for word in tiny),
        "--loss",
        "running:Running",
        *more.split(),
    ]
    cwd = private("running", RUNNING)
    assert cli(*words, "--out", tmp_path / "straight", cwd=cwd).code == 0
    assert spawn(*words, "--out", tmp_path, code=KILLER, cwd=cwd).code == -signal.SIGKILL
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
def test_what_a_state_holds_is_needed(cli, tiny, private, tmp_path, monkeypatch, forgotten):
    """What a loss remembered, and the average so far, do decide what a resumed run gives: forgotten, it ends elsewhere."""
    cwd, ends = private("running", RUNNING), []
    for forget in (False, True):
        words = [
            *tiny,
            *shlex.split("--loss running:Running --set average=ema --set select=best --out"),
            tmp_path / str(forget),
        ]
        stop_after_one_epoch(cli, words, monkeypatch, cwd=cwd)
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
    """SIGTERM to a running process ends it with 143, without a traceback, and prints the command to go on with."""
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
    """A signal in the second epoch gives 143 or 130 and the resume command; the same command then ends with the same bits."""
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
    """Let the number-th replacement of a file be the last thing that never happened; counts them all."""
    replace, calls = Path.replace, []

    def guarded(self, target):
        if len(calls) == number:
            raise Crash
        calls.append(target)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", guarded)
    return calls


def test_a_crash_before_any_write_loses_nothing(cli, tiny, tmp_path, reference, same, monkeypatch):
    """Whichever write is the one that does not happen any more, the same command again ends with the same bits."""
    calls = crash_at(monkeypatch, -1)
    assert cli(*tiny, "--out", tmp_path / "all").code == 0
    monkeypatch.undo()
    assert len(calls) > 8
    for number in range(len(calls)):
        out = tmp_path / str(number)
        crash_at(monkeypatch, number)
        with pytest.raises(Crash):
            cli(*tiny, "--out", out)
        monkeypatch.undo()
        again = cli(*tiny, "--out", out)
        assert again.code == 0, (number, calls[number], again.err)
        same(out / "models" / "m", reference)


def test_finished_is_not_done_again(cli, store, snapshot):
    """The same command on a finished model does nothing, says so and touches no file; --force does it again, to the same bits."""
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


def test_other_spellings_are_the_same_training(cli, store, snapshot):
    """A default written out, a fraction for a number or capitals in a norm are the same settings: nothing to do."""
    before = snapshot(store)
    again = cli("train --loss cross-entropy --inner pgd:steps=7,restarts=1 --threat Linf:0.150 --epochs 2 --name at --lr 3/1000",
                "--out", store)  # fmt: skip
    assert (again.code, snapshot(store) == before) == (0, True), again.err


@pytest.mark.parametrize(
    ("words", "named"),
    [("--epochs 3", "epochs"), ("--seed 1", "seed"), ("--lr 0.01", "lr"), ("--inner pgd:steps=1", "inner"),
     ("--threat linf:0.1", "threat"), ("--model mlp", "model"), ("--limit 100", "limit"), ("--loss trades", "loss")],
)  # fmt: skip
def test_other_settings_under_a_taken_name(cli, store, snapshot, words, named):
    """Another setting under the name of a finished model is exit 2, names what differs and touches nothing."""
    before = snapshot(store)
    epochs = [] if "--epochs" in words else ["--epochs", "2"]
    done = cli("train", *epochs, "--name", "ce", *words.split(), "--out", store)
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert done.err.startswith("error:")
    assert named in done.err
    assert "--name" in done.err
    assert snapshot(store) == before


# -- damaged folders
# -----------------------------------------------------------------------------------------------------


def half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def without_keys(path):
    content = json.loads(path.read_text())
    content["config"] = {"epochs": 2}
    path.write_text(json.dumps(content))


CONFIGS = {
    "not JSON": lambda path: path.write_text("{"),
    "empty": lambda path: path.write_text(""),
    "binary": lambda path: path.write_bytes(b"\xff\x00"),
    "a list": lambda path: path.write_text("[1]"),
    "foreign": lambda path: path.write_text('{"schema": "other/1"}'),
    "truncated": half,
    "keys missing": without_keys,
}


@pytest.mark.parametrize("damage", CONFIGS)
@pytest.mark.parametrize(
    "command", ["train --epochs 2 --name ce", "attack ce --attack fgsm --limit 5"]
)
def test_damaged_config(cli, store, snapshot, damage, command):
    """A config.json that is damaged or foreign is exit 2 with one line, for train and attack, and nothing is overwritten."""
    CONFIGS[damage](store / "models" / "ce" / "config.json")
    before = snapshot(store)
    done = cli(*command.split(), "--out", store)
    assert (done.code, done.err.count("\n"), done.err[:6]) == (2, 1, "error:"), done.err
    assert snapshot(store) == before


@pytest.mark.parametrize(
    "damage",
    [half, lambda path: path.write_bytes(b""), Path.unlink],
    ids=["truncated", "empty", "missing"],
)
@pytest.mark.parametrize(
    ("model", "file"), [("ce", "model"), ("ce@best", "best"), ("at@last", "last")]
)
def test_damaged_weights(cli, store, snapshot, damage, model, file):
    """Weights that are truncated, empty or gone are exit 2 with one line that names the file."""
    damage(store / "models" / model.partition("@")[0] / f"{file}.safetensors")
    before = snapshot(store)
    done = cli("attack", model, "--attack", "fgsm", "--limit", 5, "--out", store)
    assert (done.code, done.err.count("\n"), done.err[:6]) == (2, 1, "error:"), done.err
    assert f"{file}.safetensors" in done.err
    assert snapshot(store) == before


class Bomb:
    """Leaves a file where it was unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("writer", ["pickle", "torch"])
def test_weights_are_never_unpickled(cli, store, tmp_path, writer):
    """A pickle that would run code, in place of the weights, does not run; exit 2."""
    victim, file = tmp_path / "exploded", store / "models" / "ce" / "model.safetensors"
    if writer == "pickle":
        file.write_bytes(pickle.dumps(Bomb(victim)))
    else:
        torch.save({"head.weight": Bomb(victim)}, file)
    done = cli("attack", "ce", "--attack", "fgsm", "--limit", 5, "--out", store)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert not victim.exists()
    pickle.loads(pickle.dumps(Bomb(victim)))
    assert victim.exists()  # the bomb does work


def stop_after_one_epoch(cli, words, monkeypatch, cwd=None):
    """Run a training command that is told to stop when its second epoch begins."""
    original = Trainer.run_epoch

    def run_epoch(self, watch):
        if self.epoch == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, watch)

    monkeypatch.setattr(Trainer, "run_epoch", run_epoch)
    assert cli(*words, cwd=cwd).code == 143
    monkeypatch.undo()


@pytest.fixture
def unfinished(cli, tiny, tmp_path, monkeypatch):
    """An output folder with a training that stopped after its first epoch."""
    stop_after_one_epoch(cli, [*tiny, "--out", tmp_path / "U"], monkeypatch)
    return tmp_path / "U"


@pytest.mark.parametrize("damage", ["truncated", "empty", "foreign", "bomb"])
def test_damaged_state(cli, tiny, unfinished, snapshot, tmp_path, damage, reference, same):
    """A state that cannot be resumed is exit 2 with one line, never unpickled, never overwritten; --force starts again."""
    state, victim = unfinished / "models" / "m" / "state.pt", tmp_path / "exploded"
    if damage == "truncated":
        half(state)
    elif damage == "empty":
        state.write_bytes(b"")
    else:
        torch.save(
            {"epoch": 1, "model": {}} if damage == "foreign" else {"epoch": Bomb(victim)}, state
        )
    before = snapshot(unfinished / "models" / "m")
    done = cli(*tiny, "--out", unfinished)
    assert (done.code, done.err.count("\n"), done.err[:6]) == (2, 1, "error:"), done.err
    assert "state.pt" in done.err
    assert "--force" in done.err
    assert snapshot(unfinished / "models" / "m") == before
    assert not victim.exists()
    assert cli(*tiny, "--out", unfinished, "--force").code == 0
    same(unfinished / "models" / "m", reference)


def test_an_unfinished_model_is_not_attacked(cli, unfinished, snapshot):
    """A model whose training has not ended is exit 2 and says how to go on."""
    before = snapshot(unfinished)
    done = cli("attack", "m", "--attack", "fgsm", "--out", unfinished)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "not finished" in done.err
    assert snapshot(unfinished) == before


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_folder_that_is_not_ours(cli, tiny, tmp_path, snapshot, force):
    """A model folder with other files in it is exit 2 and left alone, even with --force."""
    folder = tmp_path / "models" / "m"
    folder.mkdir(parents=True)
    (folder / "thesis.tex").write_text("years of work")
    before = snapshot(tmp_path)
    done = cli(*tiny, "--out", tmp_path, *force)
    assert (done.code, done.err.count("\n"), done.err[:6]) == (2, 1, "error:"), done.err
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("where", ["", "models", "models/m"])
@pytest.mark.parametrize("command", ["train", "attack"])
def test_a_file_where_a_folder_should_be(cli, tiny, tmp_path, where, command):
    """An output path, or a folder in it, that is a file is exit 2 with one line, and the file stays as it is."""
    path = tmp_path / "S" / where
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")
    words = tiny if command == "train" else ["attack", "m", "--attack", "fgsm", "--limit", "5"]
    done = cli(*words, "--out", tmp_path / "S")
    assert (done.code, done.err.count("\n"), done.err[:6]) == (2, 1, "error:"), done.err
    assert path.read_text() == "mine"


# -- which checkpoint
# ----------------------------------------------------------------------------------------------------

SCORES = [
    (0.9, 0.5),
    (0.8, 0.6),
    (0.9, 0.6),
    (0.9, 0.6),
    (0.99, 0.55),
    (0.7, 0.6),
]  # (clean, robust): the 4th is best


@pytest.mark.parametrize(
    ("inner", "select", "epoch"),
    [("pgd:steps=1", "auto", 4), (None, "auto", 6), (None, "best", 4), ("pgd:steps=1", "last", 6)],
)
def test_the_selected_checkpoint(tmp_path, monkeypatch, rows_of, inner, select, epoch):
    """Best = highest robust validation accuracy, then clean, then the latest; auto: the last where there is no inner attack."""
    weights = []

    def validate(trainer):
        weights.append({key: tensor.clone() for key, tensor in trainer.model.state_dict().items()})
        clean, robust = SCORES[len(weights) - 1]
        return Validation(clean, robust, 1.0, 0.5)

    monkeypatch.setattr(Trainer, "validate", validate)
    done = train(
        plan(tmp_path, epochs=6, inner=inner, select=select),
        force=False,
        watcher=Silent(),
        stop=StopFlag(),
    )
    assert done.config["selected"]["epoch"] == epoch
    assert done.config["selected"]["best_epoch"] == 4
    stored = load_file(done.folder / "model.safetensors")
    assert all(torch.equal(tensor, weights[epoch - 1][key]) for key, tensor in stored.items())
    other = load_file(done.folder / ("best.safetensors" if epoch == 6 else "last.safetensors"))
    assert all(
        torch.equal(tensor, weights[(4 if epoch == 6 else 6) - 1][key])
        for key, tensor in other.items()
    )
    rows = rows_of(done.folder / "epochs.parquet")
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row["epoch"] for row in rows if row["selected"]] == [epoch]
    assert [(row["clean_accuracy"], row["robust_accuracy"]) for row in rows] == SCORES


@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_the_saved_model_is_the_average(tmp_path, monkeypatch, kind):
    """model.safetensors holds the average of the weights as it was when validated, not the weights of the last step."""
    seen, validate = [], Trainer.validate

    def watched(trainer):
        weights, average = (
            {key: tensor.clone() for key, tensor in model.state_dict().items()}
            for model in (trainer.model, trainer.averaged_model)
        )
        seen.append((weights, average))
        return validate(trainer)

    monkeypatch.setattr(Trainer, "validate", watched)
    made = plan(tmp_path, epochs=8, average=kind, ema_decay=0.9, select="last")
    done = train(made, force=False, watcher=Silent(), stop=StopFlag())
    stored = load_file(done.folder / "model.safetensors")
    weights, average = seen[-1]
    assert stored.keys() == average.keys() == weights.keys()
    assert all(torch.equal(tensor, average[key]) for key, tensor in stored.items())
    assert not torch.equal(stored["head.weight"], weights["head.weight"])
    best = load_file(done.folder / "best.safetensors")
    assert all(
        torch.equal(tensor, seen[done.config["selected"]["best_epoch"] - 1][1][key])
        for key, tensor in best.items()
    )


def test_checkpoints_by_name(cli, store, rows_of):
    """NAME@last and NAME@best are the two checkpoints, each with a run of its own; NAME is the selected one."""
    done = cli("attack ce ce@last ce@best --attack fgsm --limit 20 --json --out", store)
    assert done.code == 0, done.err
    ids = [row["run_id"] for row in done.json["rows"]]
    assert [row["model"] for row in done.json["rows"]] == ["ce", "ce@last", "ce@best"]
    hashes = [
        read_run(store / "results" / "runs" / f"{id_}.parquet").info["model_hash"] for id_ in ids
    ]
    assert hashes[0] == hashes[1]  # `ce` keeps the end of its recipe
    best = json.loads((store / "models" / "ce" / "config.json").read_text())["selected"][
        "best_epoch"
    ]
    assert (hashes[2] == hashes[0]) == (best == 2)
    config = store / "models" / "ce" / "model.safetensors"
    config.write_bytes(
        (store / "models" / "at" / "model.safetensors").read_bytes()
    )  # other weights: another run
    assert (
        cli("attack ce --attack fgsm --limit 20 --json --out", store).json["rows"][0]["run_id"]
        not in ids
    )


@pytest.mark.parametrize("which", ["first", "3", "Best"])
def test_no_other_checkpoint(cli, store, which):
    """NAME@anything else is exit 2 and says what there is."""
    done = cli("attack", f"ce@{which}", "--attack", "fgsm", "--limit", 5, "--out", store)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "@best" in done.err
    assert "@last" in done.err


# -- which samples
# -------------------------------------------------------------------------------------------------------


def test_validation_is_taken_from_training_data():
    """Training and validation samples are disjoint, make up the training split, and none is a test sample."""
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


def test_training_sees_every_training_sample_once_and_no_other(tmp_path):
    """In each epoch the loss sees each training image once, and never one of the validation split."""
    import dataclasses

    made, spy = plan(tmp_path, limit=None, epochs=1, batch_size=50), Spy()
    train(dataclasses.replace(made, loss=spy), force=False, watcher=Silent(), stop=StopFlag())
    assert sorted(spy.seen) == sorted(made.train.ids.tolist())
    assert not set(spy.seen) & set(made.validation.ids.tolist())


def test_differential_from_end_to_end(cli, tmp_path):
    """Two classes, one-score head: trained, saved with its fitted threshold, loaded again and attacked."""
    words = shlex.split(
        "train --data digits[1,8] --loss differential:form=square --model mlp:depth=0 --epochs 3 --name d --out"
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


def test_differential_refuses_ten_classes(cli, tmp_path):
    """Ten classes are one clear line and exit 2, before anything is written."""
    done = cli("train", "--loss", "differential", "--out", tmp_path / "S")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "2 classes" in done.err
    assert not (tmp_path / "S").exists()


def test_a_loss_that_diverges(cli, tmp_path):
    """A loss that becomes NaN is exit 3 with one line that names the epoch; the same command may be given again."""
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
        return super().__call__(step) * (math.nan if step.epoch == self.epoch and step.progress > 0.6 else 1)
"""


def test_nan_keeps_the_last_good_checkpoint(cli, private, tmp_path, snapshot, rows_of):
    """NaN in the third epoch: exit 3 and one line that says what is kept; weights, epochs and state of the second stay."""
    cwd, out = private("ill", ILL), tmp_path / "S"
    words = [
        *shlex.split(
            "train --loss ill:Ill --model mlp:width=8,depth=1 --limit 150 --epochs 4 --name m --quiet --out"
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
    assert sorted(path.name for path in folder.iterdir()) == kept
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


# -- recipes
# -------------------------------------------------------------------------------------------------------------


def test_a_recipe_is_where_settings_come_from(cli, tmp_path):
    """`--recipe` sets what the file says, flags and --set win over it, and the config kept beside the model says all of it."""
    words = shlex.split(
        "train --recipe digits-smoke --limit 100 --epochs 1 --set inner=pgd:steps=1 --model mlp:width=4 --out"
    )
    done = cli(*words, tmp_path)
    assert done.code == 0, done.err
    kept = json.loads((tmp_path / "models" / "cross-entropy" / "config.json").read_text())["config"]
    assert (kept["threat"], kept["data"]) == ("linf:0.15", "digits")  # the recipe's
    assert (kept["epochs"], kept["limit"], kept["batch_size"]) == (1, 100, 64)
    assert kept["inner"].startswith("pgd:steps=1,")
    assert kept["model"].startswith("mlp:width=4")
    again = cli(*words, tmp_path)
    assert "nothing to do" in again.err


def test_a_recipe_is_the_same_as_its_settings(cli, tmp_path):
    """A recipe and the same settings by flags are the same training: nothing to do."""
    assert (
        cli("train --recipe digits-smoke --limit 100 --epochs 1 --name m --out", tmp_path).code == 0
    )
    same = "train --data digits --inner pgd:steps=5 --threat linf:0.15 --limit 100 --epochs 1 --name m --out"
    done = cli(same, tmp_path)
    assert (done.code, "nothing to do" in done.err) == (0, True), done.err


def test_a_recipe_below_a_config_file(cli, tmp_path):
    """A config file wins over a recipe, and a flag over both; --dry-run shows what would be trained and writes nothing."""
    file = tmp_path / "own.toml"
    file.write_text("[train]\nepochs = 7\nthreat = 'linf:0.05'\n")
    words = [
        "train",
        "--recipe",
        "digits-smoke",
        "--config",
        file,
        "--threat",
        "linf:0.2",
        "--dry-run",
        "--out",
        tmp_path / "S",
    ]
    config = cli(*words).json["config"]
    assert (config["epochs"], config["threat"], config["inner"].split(",")[0]) == (
        7,
        "linf:0.2",
        "pgd:steps=5",
    )
    assert not (tmp_path / "S").exists()


@pytest.mark.parametrize(
    ("name", "meant"), [("cifar10-rn81", "cifar10-rn18"), ("digits-smok", "digits-smoke")]
)
def test_an_unknown_recipe(cli, tmp_path, name, meant):
    """A recipe that is not there is exit 2, one line with the nearest names, and nothing is written."""
    done = cli("train", "--recipe", name, "--out", tmp_path / "S")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert f"unknown recipe '{name}'; did you mean" in done.err
    assert meant in done.err
    assert not (tmp_path / "S").exists()


@pytest.mark.parametrize(
    ("inner", "code"),
    [
        ("apgd-t", 2),
        ("apgd:objective=dlr-targeted", 2),
        ("fgsm", 0),
        ("apgd:steps=2", 0),
        ("pgd:steps=2,objective=kl-from-clean", 0),
    ],
)
def test_any_row_attack_can_be_inner(cli, tmp_path, inner, code):
    """Every attack of ours works as the inner attack, but targeted ones, which are refused in one line; it never crashes."""
    done = cli(
        "train --model mlp --limit 60 --epochs 1 --quiet --name m",
        "--inner",
        inner,
        "--out",
        tmp_path,
    )
    assert done.code == code, done.err
    assert (tmp_path / "models" / "m" / "model.safetensors").exists() == (code == 0)
    assert ("targeted" in done.err, done.err.count("\n")) == (code == 2, code // 2)


@pytest.mark.parametrize(
    "change",
    ["rows missing", "a row too few", "a row without its numbers", "a number for rows", "a pipe"],
)
def test_a_state_that_is_none(cli, tmp_path, change):
    """A state.pt of other types, or of rows that do not fit its epoch, is exit 2 before anything is trained on it."""
    words = shlex.split(
        "train --model mlp:width=4,depth=1 --limit 60 --epochs 2 --name m --quiet --out"
    )
    assert cli(*words, tmp_path).code == 0
    folder = tmp_path / "models" / "m"
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps({**config, "status": "training", "selected": None})
    )
    row = {"epoch": 1, "robust_accuracy": 0.5, "clean_accuracy": 0.5}
    rows = {
        "a row too few": [],
        "a row without its numbers": [{"epoch": 1}],
        "a number for rows": 3,
    }.get(change, [row])
    state = {"epoch": 1, "rows": rows} if change != "rows missing" else {"epoch": 1}
    if change == "a pipe":
        os.mkfifo(folder / "state.pt")
    else:
        torch.save(state, folder / "state.pt")
    done = cli(*words, tmp_path)
    assert (done.code, done.out, done.err.count("\n"), done.err[:6]) == (2, "", 1, "error:"), (
        done.err
    )
    assert "state.pt" in done.err
