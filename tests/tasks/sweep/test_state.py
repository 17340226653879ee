"""The record of outcomes, and what may be trusted of it."""

import json

import pytest

from robbench.execution.task import Outcome
from robbench.tasks.sweep.grid import parse_axis
from robbench.tasks.sweep.plan import plan_sweep
from robbench.tasks.sweep.request import Request
from robbench.tasks.sweep.state import SweepState

PLACE = {"out": "runs", "device": "cpu", "data_dir": None, "download": False, "log": False}


def plan(*grid, **fixed):
    return plan_sweep(
        Request(name="s", grid=tuple(parse_axis(text) for text in grid), fixed=fixed), PLACE
    )


def trained(folder, identity):
    """The config.json of a model."""
    found = {"schema": "robbench.model/1", "status": "done", "identity": identity}
    (folder / "config.json").write_text(json.dumps(found))


def finish(state, found):
    """Record all tasks as done, and make what they leave."""
    for item in found.items:
        if item.kind == "train":
            folder = state.out / "models" / item.model
            folder.mkdir(parents=True)
            (folder / "model.safetensors").touch()
            trained(folder, "i")
            value = {"model": item.model, "identity": "i"}
        else:
            value = {"run_ids": [item.task.id]}
            folder = state.out / "results" / "runs"
            folder.mkdir(parents=True, exist_ok=True)
            samples = state.out / "results" / "samples"
            samples.mkdir(exist_ok=True)
            for place in (folder, samples):
                (place / f"{item.task.id}.parquet").touch()
        state.add(Outcome(item.task.id, "done", value))


def done(state, found):
    ids = state.done(found, state.read())
    return [item.task.title for item in found.items if item.task.id in ids]


def test_the_last_record_of_a_task_counts(tmp_path):
    state = SweepState(tmp_path, "s.1")
    state.add(Outcome("a", "failed", error="no", tries=3))
    state.add(Outcome("b", "done", {"model": "b"}))
    with (state.folder / "outcomes.jsonl").open("ab") as file:
        file.write(b'{"task": "b", "status": "fai')  # torn by a kill
    state.add(Outcome("a", "done", {"model": "a"}, seconds=2.5))
    found = state.read()
    assert {name: record["status"] for name, record in found.items()} == {"a": "done", "b": "done"}
    assert found["a"]["seconds"] == 2.5
    assert state.table.name == "s.1.parquet"


@pytest.mark.parametrize(
    "change",
    [
        {"value": None},
        {"value": {}},
        {"value": {"run_ids": 5}},
        {"status": "finished"},
        {"started": "zzz"},
        {"ended": 7},
        {"task": 1},
        {"version": None},
    ],
    ids=str,
)
def test_a_line_that_is_no_record_is_skipped(tmp_path, change):
    state = SweepState(tmp_path, "s")
    state.add(Outcome("a", "done", {"model": "m"}, seconds=2.5))
    (file,) = state.folder.glob("*.jsonl")
    record = json.loads(file.read_text())
    file.write_text(json.dumps({**record, **change}))
    assert state.read() == {}
    state.add(Outcome("a", "failed", error="because"))
    assert state.read()["a"]["error"] == "because"


def test_what_is_recorded_and_there_is_done(tmp_path):
    state, found = SweepState(tmp_path, "s"), plan("loss=ce,mart", data="digits")
    assert done(state, found) == []
    finish(state, found)
    assert done(state, found) == ["train ce", "attack ce", "train mart", "attack mart"]
    (tmp_path / "models" / "ce" / "model.safetensors").unlink()
    (tmp_path / "results" / "runs" / f"{found.items[3].task.id}.parquet").unlink()
    assert done(state, found) == ["attack ce", "train mart"]
    (tmp_path / "results" / "samples" / f"{found.items[1].task.id}.parquet").unlink()
    assert done(state, found) == ["train mart"]


@pytest.mark.parametrize("other", ["another training", "damaged", "no weights", "nothing"])
def test_a_model_of_another_training_is_not_the_one_recorded(tmp_path, other):
    state, found = SweepState(tmp_path, "s"), plan("loss=ce")
    finish(state, found)
    folder = tmp_path / "models" / "ce"
    if other == "another training":
        trained(folder, "j")
    elif other == "damaged":
        (folder / "config.json").write_text("{")
    else:
        (folder / "model.safetensors").unlink()
        if other == "nothing":
            (folder / "config.json").unlink()
    assert done(state, found) == ["attack ce"]


def test_a_record_that_lacks_what_its_kind_has_is_asked(tmp_path):
    state, found = SweepState(tmp_path, "s"), plan("loss=ce")
    finish(state, found)
    for item in found.items:
        state.add(Outcome(item.task.id, "done", {"model": item.model}))
    assert done(state, found) == []


def test_another_version_is_asked(tmp_path, monkeypatch):
    state, found = SweepState(tmp_path, "s"), plan("loss=ce")
    finish(state, found)
    assert len(done(state, found)) == 2
    monkeypatch.setattr("robbench.__version__", "99")
    assert done(state, found) == []


@pytest.mark.parametrize(
    ("grid", "fixed"),
    [
        ("loss=mine:Loss", {}),
        ("model=mine:make", {}),
        ("model=checkpoint:a.pth", {}),
        ("data=npz:a.npz", {}),
        ("data=my-set", {}),
        ("from_model=other", {}),
        ("teacher=other", {}),
        ("loss=ce", {"attack": "cascade.toml"}),
        ("loss=ce", {"attack": "eot:attack=(mine:Attack)"}),
        ("models=at", {}),
    ],
)
def test_what_may_have_changed_is_asked(tmp_path, grid, fixed):
    state, found = SweepState(tmp_path, "s"), plan(grid, **fixed)
    finish(state, found)
    attacks = [item for item in found.items if item.kind == "attack"]
    assert not state.done(found, state.read()) & {item.task.id for item in attacks}


@pytest.mark.parametrize("grid", ["data=cifar10[airplane,horse]", "model=mlp:width=8,depth=1"])
def test_what_is_robbenchs_own_is_not_asked(tmp_path, grid):
    state, found = SweepState(tmp_path, "s"), plan(grid, lr=0.5)
    finish(state, found)
    assert len(done(state, found)) == 2
