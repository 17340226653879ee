"""Rows from the index are those of the files, whatever was done to either."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robbench.core.errors import RunError, UserError
from robbench.store import index
from robbench.store.find import parquet_files, run_refs
from robbench.store.from_rows import to_table
from robbench.store.index import require_rows, run_rows
from robbench.store.row import run_row
from robbench.store.schema import RUNS, SCHEMA_VERSION
from robbench.store.store import Store
from robbench.store.tables import write_table

FEW = ("run_id", "model", "eps", "tags")
Write = Callable[..., Path]
READ = """
import sys
from pathlib import Path
from robbench.store import index
index.FEWEST, index._SHARE, index._RECENT = 1, 0.0, 10**6
folder = Path(sys.argv[1])
for _ in range(15):
    index.run_rows(sorted(folder.glob("*.parquet")))
print("read")
"""


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "results" / "runs"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def write(runs: Path, make_run: Callable[..., Any], make_samples: Callable[..., Any]) -> Write:
    """Writes a runs file, anew or into the file that is there."""
    samples = make_samples()

    def write(name: str, *, place: bool = False, version: int = 3, **changes: Any) -> Path:
        path = runs / f"{name}.parquet"
        row = make_run(name, samples, **changes) | {"schema_version": version, "status": "done"}
        table = to_table(RUNS, [row])
        if version < SCHEMA_VERSION:
            table = table.drop_columns(["max_time_s", "max_queries"])
            table = table.append_column("budget", pa.array(["90s"]))
            facts = {**table.schema.metadata, b"robbench.schema_version": str(version).encode()}
            table = table.replace_schema_metadata(facts)
        if place:
            pq.write_table(table, path)
        else:
            write_table(path, table, name)
        return path

    return write


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """The index is written for any new file that is older than 20 ms."""
    monkeypatch.setattr(index, "FEWEST", 1)
    monkeypatch.setattr(index, "_SHARE", 0.0)
    monkeypatch.setattr(index, "_RECENT", 20 * 10**6)


def settle() -> None:
    """Let files become old enough for the index."""
    time.sleep(0.03)


def direct(paths: list[Any], columns: tuple[str, ...] | None = None) -> list[str]:
    """What reading each file gives, as text, in which NaN is equal to itself."""
    found = []
    for path in paths:
        try:
            found.append(repr(run_row(path, columns)))
        except UserError as error:
            found.append(str(error))
    return found


def texts(found: list[Any]) -> list[str]:
    return [str(row) if isinstance(row, UserError) else repr(row) for row in found]


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_rows_are_those_of_the_files_after_any_operations(
    runs: Path, write: Write, seed: int
) -> None:
    """Files come, change in place or by renaming, get old times, lose bytes, and go.

    So does the index itself. Some changes follow each other at once, others are indexed between.
    """
    draw = random.Random(seed)
    names = [f"run{i:013}" for i in range(6)]
    beside, indexed = runs.with_name(".runs.parquet"), 0
    for step in range(30):
        path = runs / f"{draw.choice(names)}.parquet"
        what = draw.choice(
            ["write"] * 3 + ["place", "times", "former", "cut", "foreign", "go", "index"]
        )
        before = path.stat() if path.exists() else None
        if what in ("write", "place"):
            write(path.stem, place=what == "place", model=f"m{step:02}", eps=draw.random())
        elif what == "former":
            write(path.stem, version=draw.choice([1, 2]), model="old")
        elif what == "foreign":
            pq.write_table(pa.table({"a": [step]}), path)
        elif what == "index" and beside.exists():
            content = bytearray(beside.read_bytes())
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
            beside.write_bytes(content)
        elif before is not None and what == "times":
            write(path.stem, place=True, model=f"m{step:02}")
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        elif before is not None and what == "cut":
            path.write_bytes(path.read_bytes()[: draw.randrange(before.st_size)])
        elif before is not None and what == "go":
            path.unlink()
        if draw.random() < 0.5:
            settle()
        files = parquet_files(runs)
        columns = draw.choice([None, FEW])
        assert texts(run_rows(files, columns)) == direct(files, columns), what
        indexed += beside.exists() and len(pq.read_table(beside, columns=["file"])) > 0
    assert indexed > 5


@pytest.mark.usefixtures("eager")
def test_files_in_the_index_are_not_opened(
    runs: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not to find runs either; a new file is, and those of the index are still not."""
    for i in range(5):
        write(f"run{i}", model=f"m{i}", age=i)
    settle()
    before = run_rows(parquet_files(runs))
    opened: list[str] = []
    read = index.run_row
    monkeypatch.setattr(
        index, "run_row", lambda path, columns: (opened.append(path.stem), read(path, columns))[1]
    )
    monkeypatch.setattr(index, "_entry", lambda folder, name: opened.append(Path(name).stem))
    assert run_rows(parquet_files(runs)) == before
    assert [ref.model for ref in run_refs(parquet_files(runs))] == ["m0", "m1", "m2", "m3", "m4"]
    assert opened == []
    write("run9")
    assert len(run_rows(parquet_files(runs))) == 6
    assert set(opened) == {"run9"}


def test_files_that_were_just_written_are_left_out(
    runs: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change in the same tick of a clock would not show; nor after it was set back."""
    monkeypatch.setattr(index, "FEWEST", 1)
    write("run1")
    beside, now = runs.with_name(".runs.parquet"), time.time_ns()
    for shift in (0, -3600 * 10**9):
        monkeypatch.setattr(index, "_clock", lambda folder: now + shift)  # noqa: B023
        assert len(run_rows(parquet_files(runs))) == 1
        assert not beside.exists()
    monkeypatch.setattr(index, "_clock", lambda folder: now + 3600 * 10**9)
    assert len(run_rows(parquet_files(runs))) == 1
    assert beside.exists()


def test_few_files_need_no_index(tmp_path: Path, runs: Path, write: Write) -> None:
    """A small folder holds what was written there, and nothing else."""
    for i in range(index.FEWEST - 1):
        write(f"run{i:02}")
    assert len(Store(tmp_path).rows()) == index.FEWEST - 1
    assert [entry.name for entry in (tmp_path / "results").iterdir()] == ["runs"]


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("obstacle", ["folder", "disk"])
def test_a_folder_that_nothing_may_be_written_to(
    runs: Path, write: Write, monkeypatch: pytest.MonkeyPatch, obstacle: str
) -> None:
    """It is read without an index, and so is one on a full disk."""
    write("run1")
    settle()

    def refuse(*_: object, **__: object) -> None:
        raise RunError("full") if obstacle == "disk" else PermissionError

    if obstacle == "disk":
        monkeypatch.setattr(index, "atomic_write", refuse)
    else:
        monkeypatch.setattr(index.tempfile, "TemporaryFile", refuse)
    assert [row["run_id"] for row in require_rows(parquet_files(runs))] == ["run1"]
    assert not runs.with_name(".runs.parquet").exists()


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("change", ["none", "version", "run_id", "eps"])
def test_an_index_of_someone_else_counts_for_nothing(runs: Path, write: Write, change: str) -> None:
    """Of another robbench, or with values that no runs file may hold; else it counts."""
    path = write("run1", model="right")
    settle()
    run_rows([path])
    beside = runs.with_name(".runs.parquet")
    table = pq.read_table(beside)
    assert len(table) == 1

    changes: dict[str, Any] = {"model": "wrong"}
    changes |= {"run_id": {"run_id": "../a"}, "eps": {"eps": -1.0}}.get(change, {})
    facts = table.schema.metadata | ({b"robbench.version": b"0"} if change == "version" else {})
    columns = [
        pa.array([changes.get(field.name, column[0].as_py())], field.type)
        for field, column in zip(table.schema, table.columns, strict=True)
    ]
    schema = index._SCHEMA.with_metadata(facts)
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), beside)
    models = [row["model"] for row in require_rows([path])]
    assert models == ["wrong" if change == "none" else "right"]


@pytest.mark.slow
@pytest.mark.usefixtures("eager")
def test_two_processes_at_once(runs: Path, write: Write) -> None:
    """Both read and write the index while runs come and change; the rows are those of the files."""
    for i in range(4):
        write(f"run{i}")
    both = [
        subprocess.Popen([sys.executable, "-c", READ, str(runs)], stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    step = 0
    while any(process.poll() is None for process in both):
        write(f"run{step % 7}", model=f"m{step}")
        step += 1
        files = parquet_files(runs)
        assert texts(run_rows(files)) == direct(files)
    assert [process.communicate()[0] for process in both] == [b"read\n"] * 2
    settle()
    files = parquet_files(runs)
    assert texts(run_rows(files)) == direct(files)


@pytest.mark.usefixtures("eager")
def test_entries_of_files_that_are_gone_go_too(runs: Path, write: Write) -> None:
    """Those of files that were not asked for stay."""
    paths = [write(f"run{i}") for i in range(4)]
    settle()
    run_rows(paths)
    paths[0].unlink()
    write("run4")
    settle()
    run_rows([runs / "run4.parquet"])
    kept = pq.read_table(runs.with_name(".runs.parquet"), columns=["file"])["file"].to_pylist()
    assert sorted(kept) == [f"run{i}.parquet" for i in range(1, 5)]


@pytest.mark.usefixtures("eager")
def test_columns_that_can_be_read_of_a_damaged_row(runs: Path, write: Write) -> None:
    """As without an index: another column is wrong."""
    path = write("run1", config="no JSON")
    settle()
    for _ in range(2):
        assert require_rows([path], ("run_id",)) == [{"run_id": "run1"}]
        with pytest.raises(UserError, match="column config"):
            require_rows([path])


def test_runs_of_several_folders_keep_their_order(tmp_path: Path, write: Write) -> None:
    """A copy elsewhere is another file."""
    path = write("run1", model="here")
    other = tmp_path / "copy" / "run1.parquet"
    other.parent.mkdir()
    other.write_bytes(path.read_bytes())
    write("run1", model="there")
    rows = require_rows([other, path, other])
    assert [row["model"] for row in rows] == ["here", "there", "here"]
