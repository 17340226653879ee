"""Teachers of a training: what is one, what it is part of, and what is refused."""

from __future__ import annotations

import json
import shutil
import signal

import pytest
import torch
from safetensors.torch import load_file, save_file

import robbench

HAT = "train --loss hat --teacher ce --data digits --limit 150 --epochs 1 --name taught --out"


def config_of(folder, name="taught"):
    return json.loads((folder / "models" / name / "config.json").read_text())


def weights_of(folder, name="taught"):
    return load_file(folder / "models" / name / "model.safetensors")


def test_a_trained_model_teaches_and_the_new_one_says_so(cli, store):
    """By its name or its folder, with one result; the answers of another one give another."""
    dry = cli(HAT, store, "--dry-run").json
    assert dry["config"]["teacher"] == "ce"
    done = cli(HAT, store, "--json")
    assert done.code == 0, done.err
    config = config_of(store)
    assert config["identity"] == dry["identity"]
    assert (config["teacher"]["name"], config["start"]) == ("ce", None)
    assert dry["teacher"] == config["teacher"]
    assert config["teacher"]["identity"] == config_of(store, "ce")["identity"]
    elsewhere = shutil.copytree(store / "models" / "ce", store / "elsewhere")
    again = cli(HAT.replace("ce", str(elsewhere)), store)  # the same weights
    assert "there already" in again.err
    mine = weights_of(store)
    assert cli(HAT.replace("ce", "at --force"), store).code == 0
    assert config_of(store)["identity"] != config["identity"]
    assert not torch.equal(weights_of(store)["head.weight"], mine["head.weight"])


def test_other_weights_of_the_teacher_are_another_training(cli, store):
    """The name stays, the hash does not."""
    assert cli(HAT, store).code == 0
    path = store / "models" / "ce" / "model.safetensors"
    save_file({name: value * 1.5 for name, value in load_file(path).items()}, path)
    done = cli(HAT, store)
    assert done.code == 2
    assert "different: its teacher)" in done.err


def test_a_training_without_a_teacher_is_what_it_was(plan, tmp_path):
    """Its identity has no part of this setting."""
    made = plan(tmp_path)
    assert "teacher" not in made.fingerprints
    assert made.teacher is None
    taught = plan(tmp_path, loss="adr", average="ema")
    assert taught.fingerprints["teacher"] == "average"
    assert taught.spec["teacher"] == "average"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--loss hat", "loss hat learns from a teacher: give --teacher NAME"),
        (
            "--loss trades --teacher ce",
            "loss trades learns from no teacher; leave out --teacher ce",
        ),
        ("--loss rpat --teacher average", "loss rpat learns from no teacher"),
        ("--loss adr", "give --set average=ema, or --teacher NAME"),
        ("--loss rpat:beta=1 --set average=swa", "give --set average=ema"),
        ("--loss hat --teacher average", "give --set average=ema"),
        ("--loss hat --teacher nothing", "--teacher nothing: not in"),
        ("--loss hat --teacher cee", "did you mean ce?"),
        ("--loss hat --teacher ce@middle", "@middle"),
        ("--loss hat --teacher ce --data digits[0,1]", "it has 10 classes, the data have 2"),
        ("--loss hat --teacher at --name at", "would replace its teacher"),
        ("--loss hat --teacher ce --data wide.npz", "it takes images of shape [1, 8, 8]"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_touched(
    cli, store, snapshot, tmp_path, words, said
):
    """One line, exit 2, before training."""
    import numpy as np

    wide = tmp_path / "wide.npz"
    np.savez(wide, images=np.full((40, 9, 9), 255, dtype=np.uint8), labels=np.arange(40) % 10)
    before = snapshot(store / "models")
    words = words.replace("wide.npz", f"npz:{wide} --threat linf:0.1")
    name = [] if "--name" in words else ["--name", "taught"]
    done = cli(f"train --epochs 1 {words}", *name, "--out", store)
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1
    assert snapshot(store / "models") == before


@pytest.mark.parametrize("loss", ["adr", pytest.param("rpat:beta=2", marks=pytest.mark.slow)])
def test_the_average_teaches_the_same_after_a_kill(spawn, cli, tiny, tmp_path, same, killer, loss):
    """SIGKILL in the second epoch: resumed, it ends with the same bits.

    With an average that keeps little of the past it ends elsewhere: what it teaches matters.
    """
    words = [*tiny, "--loss", loss, "--set", "average=ema"]
    assert cli(*words, "--out", tmp_path / "straight").code == 0
    assert spawn(*words, "--out", tmp_path, code=killer).code == -signal.SIGKILL
    again = cli(*words, "--out", tmp_path)
    assert again.code == 0, again.err
    assert "going on after epoch 1" in again.err
    same(tmp_path / "models" / "m", tmp_path / "straight" / "models" / "m")
    assert cli(*words, "--set", "ema_decay=0.01", "--out", tmp_path / "other").code == 0
    states = [weights_of(folder, "m") for folder in (tmp_path, tmp_path / "other")]
    assert not torch.equal(*(state["head.weight"] for state in states))


def test_a_model_teaches_the_same_after_a_kill(spawn, cli, tiny, store, tmp_path, same, killer):
    """SIGKILL in the second epoch, of a training in the folder of its teacher."""
    words = [*tiny, "--loss", "lbgat:beta=1", "--teacher", "ce"]
    straight = shutil.copytree(store, tmp_path / "straight" / "S")
    assert cli(*words, "--out", straight).code == 0
    assert spawn(*words, "--out", store, code=killer).code == -signal.SIGKILL
    assert cli(*words, "--out", store).code == 0
    configs = [config_of(folder, "m") for folder in (store, straight)]
    assert configs[0]["identity"] == configs[1]["identity"]
    states = [weights_of(folder, "m") for folder in (store, straight)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_it_is_a_setting_like_others(cli, store, tmp_path):
    """Of a file, of a variable, of a sweep, and of Python."""
    file = tmp_path / "taught.toml"
    file.write_text('[train]\nloss = "adr"\nteacher = "average"\naverage = "ema"\n')
    dry = cli("train --limit 60 --dry-run --out", store, "--config", file)
    assert dry.json["config"]["teacher"] == "average"
    dry = cli("train --loss hat --limit 60 --dry-run --out", store, env={"ROBBENCH_TEACHER": "at"})
    assert dry.json["config"]["teacher"] == "at"
    done = robbench.train(
        "hat", teacher="ce", name="p", limit=60, epochs=1, model="mlp:width=8", out=store
    )
    assert done.config["teacher"]["name"] == "ce"
    swept = cli(
        "sweep --grid teacher=ce,at --steps train --set loss=hat --set epochs=1 --set limit=60 "
        "--set model=mlp:width=8 --name s --out",
        store,
    )
    assert swept.code == 0, swept.err
    for name in ("ce", "at"):
        assert config_of(store, f"hat-teacher-{name}")["teacher"]["name"] == name
