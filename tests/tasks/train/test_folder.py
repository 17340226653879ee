"""Model folders that are damaged, foreign, unfinished or of other settings."""

from __future__ import annotations

import json
import os
import pickle
import shlex
from pathlib import Path

import pytest
import torch

from robbench.core.errors import Stopped, UserError
from robbench.core.lock import locked
from robbench.tasks.signals import StopFlag
from robbench.tasks.train.run import train
from robbench.training.trainer import Trainer
from robbench.training.validation import Validation


def test_other_spellings_are_the_same_training(cli, store, snapshot):
    """A default written out, a fraction for a number or capitals in a norm are the same settings:
    nothing to do.
    """
    before = snapshot(store)
    again = cli(
        "train --loss cross-entropy --inner pgd:steps=7,restarts=1 --threat Linf:0.150"
        " --epochs 2 --name at --lr 3/1000",
        "--out",
        store,
    )
    assert (again.code, snapshot(store) == before) == (0, True), again.err


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("--epochs 3", "epochs"),
        ("--seed 1", "seed"),
        ("--lr 0.01", "lr"),
        ("--inner pgd:steps=1", "inner"),
        ("--threat linf:0.1", "threat"),
        ("--model mlp", "model"),
        ("--limit 100", "limit"),
        ("--loss trades", "loss"),
    ],
)
def test_other_settings_under_a_taken_name(cli, store, snapshot, words, named):
    """Another setting under the name of a finished model is exit 2, names what differs and touches
    nothing.
    """
    before = snapshot(store)
    epochs = [] if "--epochs" in words else ["--epochs", "2"]
    done = cli("train", *epochs, "--name", "ce", *words.split(), "--out", store)
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert done.err.startswith("error:")
    assert named in done.err
    assert "--name" in done.err
    assert snapshot(store) == before


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
    """A config.json that is damaged or foreign is exit 2 with one line, for train and attack, and
    nothing is overwritten.
    """
    CONFIGS[damage](store / "models" / "ce" / "config.json")
    before = snapshot(store)
    done = cli(*command.split(), "--out", store)
    assert (done.code, done.err.count("\n"), done.err[:6]) == (2, 1, "error:"), done.err
    assert snapshot(store) == before


_DAMAGED = pytest.mark.parametrize(
    "damage",
    [half, lambda path: path.write_bytes(b""), Path.unlink],
    ids=["truncated", "empty", "missing"],
)


@_DAMAGED
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


def refused(cli, words, out, snapshot, said, kept="models/m"):
    """Training is exit 2 with one line that says so and names --force; `kept` stays as it is."""
    before = snapshot(out / kept)
    done = cli(*words, "--out", out)
    assert (done.code, done.err.count("\n"), done.err[:6]) == (2, 1, "error:"), done.err
    assert said in done.err
    assert "--force" in done.err
    assert snapshot(out / kept) == before


@pytest.mark.parametrize("damage", ["truncated", "empty", "foreign", "bomb"])
def test_damaged_state(cli, tiny, unfinished, snapshot, tmp_path, damage, reference, same):
    """A state that cannot be resumed is exit 2 with one line, never unpickled, never overwritten.

    --force starts again.
    """
    state, victim = unfinished / "models" / "m" / "state.pt", tmp_path / "exploded"
    if damage == "truncated":
        half(state)
    elif damage == "empty":
        state.write_bytes(b"")
    else:
        torch.save(
            {"epoch": 1, "model": {}} if damage == "foreign" else {"epoch": Bomb(victim)}, state
        )
    refused(cli, tiny, unfinished, snapshot, "state.pt")
    assert not victim.exists()
    assert cli(*tiny, "--out", unfinished, "--force").code == 0
    same(unfinished / "models" / "m", reference)


@pytest.mark.parametrize("damage", [half, lambda path: path.write_bytes(b"")])
def test_damaged_weights_are_no_finished_model(cli, tiny, tmp_path, snapshot, damage):
    """Training again says so in one line, exit 2; --force replaces them."""
    assert cli(*tiny, "--out", tmp_path).code == 0
    damage(tmp_path / "models" / "m" / "model.safetensors")
    refused(cli, tiny, tmp_path, snapshot, "model.safetensors is corrupt", kept="")
    assert cli(*tiny, "--out", tmp_path, "--force").code == 0
    assert cli(*tiny, "--out", tmp_path).code == 0


@_DAMAGED
def test_the_last_epoch_was_the_best(cli, tiny, unfinished, damage, reference, same):
    """Its weights are those of the state, whatever a kill after writing it left of them."""
    damage(unfinished / "models" / "m" / "best.safetensors")
    assert cli(*tiny, "--out", unfinished).code == 0
    same(unfinished / "models" / "m", reference)


@_DAMAGED
def test_damaged_best_weights_of_an_unfinished_run(
    plan, silent, tmp_path, monkeypatch, snapshot, damage
):
    """They may become the model: an error names them, and nothing is written."""
    accuracies = iter([0.6, 0.5, 0.4])
    monkeypatch.setattr(Trainer, "validate", lambda _: Validation(0.9, next(accuracies), 1.0, 0.5))
    made, stop = plan(tmp_path, epochs=3, inner="pgd:steps=1"), StopFlag()

    def after(row):
        stop.exit_code = 130 * (row["epoch"] == 2)

    monkeypatch.setattr(silent, "epoch", after)
    with pytest.raises(Stopped):
        train(made, force=False, watcher=silent, stop=stop)
    damage(made.folder / "best.safetensors")
    before = snapshot(made.folder)
    with pytest.raises(UserError, match=r"--force begins anew: .*best\.safetensors"):
        train(made, force=False, watcher=silent, stop=StopFlag())
    assert snapshot(made.folder) == before


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
    """An output path, or a folder in it, that is a file is exit 2 with one line, and the file stays
    as it is.
    """
    path = tmp_path / "S" / where
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")
    words = tiny if command == "train" else ["attack", "m", "--attack", "fgsm", "--limit", "5"]
    done = cli(*words, "--out", tmp_path / "S")
    assert (done.code, done.err.count("\n"), done.err[:6]) == (2, 1, "error:"), done.err
    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    "change",
    ["rows missing", "a row too few", "a row without its numbers", "a number for rows", "a pipe"],
)
def test_a_state_that_is_none(cli, tmp_path, change):
    """A state.pt of other types, or of rows that do not fit its epoch, is exit 2 before anything is
    trained on it.
    """
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


FIRST_TRY = """
import dataclasses
from robbench.losses.base import Loss

@dataclasses.dataclass(frozen=True, kw_only=True)
class Mine(Loss):
    def __call__(self, step):
        return step.out.logits.square().sum(1) / WEIGHT
"""


def test_a_training_that_kept_no_epoch_holds_no_name(cli, private, tmp_path):
    """The same command with a mended loss trains, and gives what it gives under a fresh name."""
    line = "train --loss my_loss:Mine --model mlp:width=8 --limit 60 --epochs 1 --out"
    failed = cli(line, tmp_path / "S", "--name", "m", cwd=private("my_loss", FIRST_TRY))
    assert failed.code != 0
    mended = private("my_loss", FIRST_TRY.replace("WEIGHT", "10"))
    dry = cli(line, tmp_path / "S", "--name", "m", "--dry-run", cwd=mended)
    assert dry.code == 0, dry.err
    for name in ("m", "fresh"):
        done = cli(line, tmp_path / "S", "--name", name, cwd=mended)
        assert done.code == 0, done.err
    models = tmp_path / "S" / "models"
    weights = [(models / name / "model.safetensors").read_bytes() for name in ("m", "fresh")]
    assert weights[0] == weights[1]


def test_an_epoch_that_was_kept_holds_the_name(cli, unfinished, tiny, snapshot):
    """Other settings under the name of a training that stopped after an epoch are refused."""
    before = snapshot(unfinished)
    done = cli(*tiny, "--lr", "0.01", "--out", unfinished)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "another run (different: lr)" in done.err
    assert snapshot(unfinished) == before


def test_another_training_of_the_name_is_refused_while_one_runs(cli, unfinished, tiny):
    """It is not waited for: its settings are others."""
    folder = unfinished / "models" / "m"
    (folder / "state.pt").unlink()  # as in its first epoch
    with locked(folder.with_name(".m.lock"), "model m", say=pytest.fail):
        done = cli(*tiny, "--lr", "0.01", "--out", unfinished)
    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert f"process {os.getpid()} on " in done.err
    assert "--name" in done.err
