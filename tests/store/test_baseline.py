"""The reference run: found by what was set, and refused once its files are not what they were."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import robbench.core.files
from robbench.core.errors import RunError, UserError
from robbench.store.baseline import (
    baseline_path,
    branches,
    find_baseline,
    read_baseline,
    set_baseline,
)
from robbench.store.run import read_run
from robbench.store.store import Store


@pytest.fixture
def store(tmp_path: Path, stored: Any) -> Store:
    """Two runs, one of them the baseline."""
    stored("aaaa")
    stored("bbbb", model="at")
    set_baseline(Store(tmp_path), "ce")
    return Store(tmp_path)


def test_what_was_set_is_found(store: Store) -> None:
    """Without a name the reference, with one that run; one small file, a hash per file."""
    assert find_baseline(store, None).samefile(store.run_path("aaaa"))
    assert find_baseline(store, "at").samefile(store.run_path("bbbb"))
    entry = read_baseline(store)
    assert entry is not None
    assert (entry["run_id"], entry["model"], set(entry["sha256"])) == (
        "aaaa",
        "ce",
        {"runs", "samples"},
    )
    assert sorted(path.name for path in (store.root / "results").iterdir()) == [
        "baseline.json",
        "runs",
        "samples",
    ]


def test_it_moves_with_the_folder(store: Store, tmp_path: Path) -> None:
    """An output folder that is copied or checked out elsewhere has the same baseline."""
    moved = Store(shutil.copytree(store.root, tmp_path / "elsewhere"))
    assert find_baseline(moved, None).samefile(moved.run_path("aaaa"))


def test_a_run_outside_the_folder(store: Store, tmp_path: Path) -> None:
    """A path to another folder's run can be the reference."""
    other = Store(shutil.copytree(store.root, tmp_path / "other"))
    set_baseline(store, str(other.run_path("bbbb")))
    assert find_baseline(store, None).samefile(other.run_path("bbbb"))


@pytest.mark.parametrize("name", [None, "aaaa"])
@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        ("samples", lambda path: path.write_bytes(path.read_bytes() + b" "), "was changed"),
        (
            "runs",
            lambda path: pq.write_table(pq.read_table(path), path, compression="none"),
            "was changed",
        ),
        ("samples", lambda path: path.unlink(), "is gone"),
        ("points", lambda path: (path.parent.mkdir(), path.write_bytes(b"new")), "is new"),
    ],
)
def test_a_baseline_that_changed_is_refused(
    store: Store, name: str | None, kind: str, change: Any, said: str
) -> None:
    """Also when the run is named: the file, what happened to it, and how to accept it."""
    change(store.root / "results" / kind / "aaaa.parquet")
    with pytest.raises(
        UserError, match=rf"{kind}/aaaa.parquet {said} since .*robbench baseline set aaaa"
    ):
        find_baseline(store, name)
    assert find_baseline(store, "bbbb").samefile(store.run_path("bbbb"))


def test_touching_a_file_is_no_change(store: Store) -> None:
    """It is the content that counts."""
    os.utime(store.run_path("aaaa"))
    assert find_baseline(store, None).samefile(store.run_path("aaaa"))


def test_no_baseline(tmp_path: Path, stored: Any) -> None:
    """The next step is said."""
    stored("aaaa")
    assert read_baseline(Store(tmp_path)) is None
    with pytest.raises(UserError, match="robbench baseline set RUN"):
        find_baseline(Store(tmp_path), None)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"schema": "robbench.baseline/9"}', "not JSON", '"text"']
)
def test_a_damaged_file(store: Store, text: str) -> None:
    """Half-written or of another version: refused, with what to do."""
    baseline_path(store).write_text(text)
    with pytest.raises(UserError, match=r"baseline.json is damaged .*set it again"):
        find_baseline(store, None)


@pytest.mark.parametrize(
    ("name", "value"), [("run_id", "../../x"), ("run_id", "\0"), ("results", "\0")]
)
def test_a_file_that_leads_elsewhere(store: Store, name: str, value: str) -> None:
    """Names of no file are as damaged as no JSON."""
    entry = json.loads(baseline_path(store).read_text()) | {name: value}
    baseline_path(store).write_text(json.dumps(entry))
    with pytest.raises(UserError, match=r"baseline.json is damaged .*set it again"):
        find_baseline(store, None)


def test_what_cannot_be_set_leaves_the_old_one(
    store: Store, stored: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name of several runs, of none, a damaged file, a full disk."""
    before = baseline_path(store).read_bytes()
    stored("aabb", seed=5)
    with pytest.raises(
        UserError, match=r"'ce' means 2 runs: aaaa \(linf.* samples, seed 0\); aabb \(linf"
    ):
        set_baseline(store, "ce")
    with pytest.raises(UserError, match="unknown"):
        set_baseline(store, "nobody")
    (store.root / "results" / "samples" / "bbbb.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="damaged"):
        set_baseline(store, "bbbb")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(robbench.core.files, "_sync", full)
    with pytest.raises(RunError, match="No space"):
        set_baseline(store, "aabb")
    assert baseline_path(store).read_bytes() == before
    assert json.loads(before)["run_id"] == "aaaa"


def test_of_the_runs_of_a_nightly_job_the_latest(tmp_path: Path, stored: Any) -> None:
    """The runs of one command; with another attack among them a name must say which."""
    for age, run_id in ((50, "aaaa"), (10, "bbbb"), (30, "cccc")):
        stored(run_id, age=age, model_hash=run_id)
    store = Store(tmp_path)
    runs = {run_id: read_run(store.run_path(run_id)).info for run_id in ("aaaa", "bbbb", "cccc")}
    latest = max(runs, key=lambda run_id: runs[run_id]["started_at"])
    assert set_baseline(store, "ce")["run_id"] == latest
    for run_id, other in (("dddd", {"attack_params": '["another"]'}), ("eeee", {})):
        stored(run_id, **(other or {"config": json.dumps({"audit": 300})}))
        with pytest.raises(UserError, match="'ce' means 4 runs"):
            set_baseline(store, "ce")
        store.run_path(run_id).unlink()
    assert find_baseline(store, None).stem == latest


def test_branches_have_one_each(store: Store) -> None:
    """Beside the usual one, under any branch name; a branch without one says which have one."""
    set_baseline(store, "at", "feature/x")
    assert find_baseline(store, None, "feature/x").stem == "bbbb"
    assert find_baseline(store, None).stem == "aaaa"
    assert branches(store) == ["feature/x"]
    with pytest.raises(UserError, match=r"the branch other .*\(there is one for feature/x\)"):
        find_baseline(store, None, "other")
    path = store.root / "results" / "samples" / "bbbb.parquet"
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(UserError, match="was changed since"):
        find_baseline(store, None, "feature/x")


@pytest.mark.parametrize("name", ["", "..", "x" * 300])
def test_no_name_of_a_branch(store: Store, name: str) -> None:
    with pytest.raises(UserError, match="--branch"):
        set_baseline(store, "at", name)
