"""Trainings that die, meet another under the same name, or find the disk full."""

import contextlib
import errno
import json
import os
import resource

import pytest
from safetensors.torch import load_file

from robbench.core import lock
from robbench.tasks.train import run as train

DIES = """
import os, signal, sys
from pathlib import Path
moment, number = sys.argv.pop(1), int(sys.argv.pop(1))
original, calls = getattr(Path, moment), []
def deadly(self, *args, **kwargs):
    if "models" in self.parts and (moment != "replace" or self.name.endswith(".tmp")):
        calls.append(1)
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
    return original(self, *args, **kwargs)
setattr(Path, moment, deadly)
from robbench.cli.app import main
main()
"""
HOLDS = """
import sys, time
from pathlib import Path
from robbench.tasks.train import run as train
folder, original = Path(sys.argv.pop(1)), train._Session.run
def slow(self, *, resume):
    (folder / "held").touch()
    while not (folder / "go").exists():
        time.sleep(0.01)
    return original(self, resume=resume)
train._Session.run = slow
from robbench.cli.app import main
main()
"""


@pytest.fixture
def same_model():
    """Checks that two model folders hold the same model, of the same settings."""

    def check(folder, other):
        ours, theirs = (load_file(place / "model.safetensors") for place in (folder, other))
        assert ours.keys() == theirs.keys()
        assert all(ours[name].equal(theirs[name]) for name in ours)
        configs = [json.loads((place / "config.json").read_text()) for place in (folder, other)]
        assert configs[0]["identity"] == configs[1]["identity"]
        assert {path.name for path in folder.iterdir()} == {path.name for path in other.iterdir()}

    return check


@pytest.fixture(scope="module")
def undisturbed(cli, tiny, tmp_path_factory):
    """The tiny training, and the same with another seed."""
    out = tmp_path_factory.mktemp("undisturbed")
    for seed in ("0", "1"):
        done = cli(*tiny, "--seed", seed, "--out", out / seed)
        assert done.code == 0, done.err
    return [out / seed / "models" / "m" for seed in ("0", "1")]


@pytest.mark.parametrize("force", [pytest.param([], marks=pytest.mark.slow), ["--force"]])
def test_killed_before_there_is_a_config(
    spawn, cli, tiny, tmp_path, undisturbed, same_model, force
):
    """What is left is ours: the same name can be trained, and nothing of the dead process stays."""
    assert spawn("replace", "1", *tiny, "--out", tmp_path, code=DIES).code == -9
    folder = tmp_path / "models" / "m"
    assert [path.suffix for path in folder.iterdir()] == [".tmp"]
    done = cli(*tiny, *force, "--out", tmp_path)
    assert done.code == 0, done.err
    same_model(folder, undisturbed[0])
    assert [path.name for path in folder.parent.iterdir()] == ["m"]


def test_an_empty_folder_is_ours(cli, tiny, tmp_path, undisturbed, same_model):
    """As a process leaves it that dies between making the folder and writing to it."""
    (tmp_path / "models" / "m").mkdir(parents=True)
    assert cli(*tiny, "--out", tmp_path).code == 0
    same_model(tmp_path / "models" / "m", undisturbed[0])


@pytest.fixture
def hold(hold_code, tmp_path):
    """Starts a training that has begun, and goes on when there is a file `go`."""
    return lambda *words: hold_code(HOLDS, *words, "--out", tmp_path)


def test_two_at_once_are_one_after_the_other(
    hold, cli, tiny, tmp_path, undisturbed, same_model, monkeypatch
):
    """The second says for whom it waits; its model is whole then, of its own settings."""
    first = hold(*tiny, "--seed", "0", "--force")
    monkeypatch.setattr(lock.time, "sleep", lambda seconds: (tmp_path / "go").touch())
    second = cli(*tiny, "--seed", "1", "--force", "--out", tmp_path)
    monkeypatch.undo()
    assert first.wait(60) == 0
    assert second.code == 0, second.err
    assert f"model m: process {first.pid} on " in second.err
    same_model(tmp_path / "models" / "m", undisturbed[1])


@pytest.mark.slow
def test_the_second_of_two_that_are_the_same_finds_it_done(hold, cli, tiny, tmp_path, monkeypatch):
    """Nothing is trained twice."""
    first = hold(*tiny)
    monkeypatch.setattr(lock.time, "sleep", lambda seconds: (tmp_path / "go").touch())
    second = cli(*tiny, "--json", "--out", tmp_path)
    assert first.wait(60) == 0
    assert second.code == 0, second.err
    assert second.json["fresh"] is False


def test_the_second_of_several_processes_does_not_wait(hold, cli, tiny, tmp_path, monkeypatch):
    """Its fellows would wait for it: it says who is at it, and ends."""
    first = hold(*tiny)
    monkeypatch.setattr(
        train, "joined", lambda device: contextlib.nullcontext()
    )  # its fellows are somewhere
    second = cli(*tiny, "--out", tmp_path, env={"WORLD_SIZE": "2", "RANK": "0"})
    assert second.code == 2
    assert f"error: model m: process {first.pid} on " in second.err
    assert "wait for it to end" in second.err


@pytest.mark.parametrize("limit", [500, 3000, 8000], ids=["config.json", "weights", "state"])
def test_a_full_disk(cli, tiny, tmp_path, undisturbed, same_model, limit):
    """One line in the system's words, exit code 3, no half file.

    With room again the same command ends as ever.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        full = cli(*tiny, "-q", "--out", tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert full.code == 3
    (line,) = full.err.splitlines()
    assert line.startswith(f"error: cannot write {tmp_path / 'models' / 'm'}/")
    assert line.endswith(
        f"{os.strerror(errno.EFBIG)}; "
        "make room and give the same command again, what was finished is kept"
    )
    assert not list(tmp_path.rglob("*.tmp"))
    assert cli(*tiny, "--out", tmp_path).code == 0
    same_model(tmp_path / "models" / "m", undisturbed[0])


def test_what_a_finished_model_has_no_use_for(cli, tiny, tmp_path):
    """A training that died at its very end leaves its state and a checkpoint.

    The same command drops them.
    """
    assert cli(*tiny, "--out", tmp_path).code == 0
    folder = tmp_path / "models" / "m"
    before = sorted(path.name for path in folder.iterdir())
    selected = json.loads((folder / "config.json").read_text())["selected"]["model"]
    for name in ("state.pt", f"{selected}.safetensors"):
        (folder / name).write_bytes(b"left over")
    again = cli(*tiny, "--out", tmp_path)
    assert again.code == 0, again.err
    assert sorted(path.name for path in folder.iterdir()) == before
