"""How a name typed by a person becomes the runs it means."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from robbench.core.documents import require_regular
from robbench.core.errors import UserError, unknown
from robbench.results.files import read_table, table_kind
from robbench.results.places import Place, beside, is_address, is_there, matches, place
from robbench.results.settings import settings

SHORTEST_PREFIX = 4
T = TypeVar("T")
RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
STOPPED_EARLY = "stopped early"
"""Status of a run of those samples only that it took a gate to decide."""


@dataclass(frozen=True)
class Entry:
    """What finding a run needs to know about it."""

    path: Place
    run_id: str
    model: str
    started_at: datetime
    eps: float
    whole: bool  # not stopped by a gate that had seen enough


class Finder:
    """Finds runs by name in the folder of runs files `runs`; `models` is where trained models lie."""

    def __init__(self, runs: Path, models: Path, empty: Callable[[], str]) -> None:
        self._models, self._empty = models, empty
        self._runs = runs
        self._entries: list[Entry] = []

    def find(self, names: Sequence[str]) -> list[Place]:
        """See `Store.find`."""
        # Paths need no look into this store, which may be empty or of another version.
        if not names or not all(map(_is_path, names)):
            self._entries = entries(parquet_files(self._runs))
            if not self._entries and not any(_is_path(name) or is_there(Path(name)) for name in names):
                raise UserError(self._empty())
        found = [path for name in names for path in self._named(name)] if names else _paths(self._entries)
        return list({path.resolve() if isinstance(path, Path) else path: path for path in found}.values())

    def _named(self, name: str) -> list[Place]:
        if any(entry.model == name for entry in self._entries):
            return _paths([entry for entry in self._entries if entry.model == name])
        if glob.has_magic(name) and (is_address(name) or not is_there(Path(name))):
            return self._matching(name)
        if _is_path(name):
            return runs_at(place(name))
        if len(name) >= SHORTEST_PREFIX:
            starts = [entry for entry in self._entries if entry.run_id.startswith(name)]
            if len(starts) > 1:
                raise UserError(f"'{name}' may be any of the runs {', '.join(e.run_id for e in starts)}; give more of the id")
            if starts:
                return [starts[0].path]
        if is_there(Path(name)):
            return runs_at(Path(name))
        if (self._models / name).is_dir():
            raise UserError(f"model '{name}' has no results yet: run robbench attack {name}")
        like = [entry.run_id for entry in self._entries if entry.run_id[:3] == name[:3]]
        raise unknown("model, run or path", name, {entry.model for entry in self._entries}.union(like))

    def _matching(self, pattern: str) -> list[Place]:
        """The runs of the models, or the ids, files and folders, that a pattern with * ? or [] fits."""
        mine = [e for e in self._entries if any(fnmatch.fnmatchcase(text, pattern) for text in (e.model, e.run_id))]
        if mine:
            return _paths(mine)
        # Among what fits, folders of other things are passed over; alone they would be an error.
        found = [path for path in matches(pattern) if path.is_file() or _tables_in(path)]
        if not found:
            raise UserError(f"no model, run or path with results fits '{pattern}'; robbench runs shows what is there")
        return [path for each in found for path in runs_at(each)]


def _paths(found: Sequence[Entry]) -> list[Place]:
    """Where they lie, without the parts that a gate attacked until it had seen enough, unless there is nothing else."""
    return [entry.path for entry in found if entry.whole] or [entry.path for entry in found]


def entries(paths: Sequence[Place]) -> list[Entry]:
    """What the runs files say about themselves, oldest run first, of one security curve the smallest budget."""

    def entry(path: Place) -> Entry:
        row = run_row(path, ("run_id", "model", "started_at", "eps", "status"))
        return Entry(path, row["run_id"], row["model"], row["started_at"], row["eps"], row["status"] != STOPPED_EARLY)

    return sorted(in_threads(entry, paths), key=lambda found: (found.started_at, found.eps, found.run_id))


def in_threads(work: Callable[[Place], T], paths: Sequence[Place]) -> Iterator[T]:
    """The results for each path in their order, worked on side by side: reading small files is mostly waiting."""
    with ThreadPoolExecutor() as pool:
        yield from pool.map(work, paths)


def run_row(path: Place, columns: Sequence[str] | None = None) -> dict[str, Any]:
    """The one row of a runs file. Raises UserError, naming the file, as `read_table` does, or for another number of rows."""
    return only_row(path, read_table(path, "runs", columns).to_pylist())


def several_runs(name: str, paths: Sequence[Place]) -> str:
    """Which runs a name means, for the message that asks for one. Raises UserError as `run_row` does."""
    rows = [run_row(path) for path in paths]
    form = "{run_id} ({threat}, {attack}, {n_samples} samples{apart})"
    said = [form.format(**row, apart=f", {apart}" if apart else "") for row, apart in zip(rows, settings(rows), strict=True)]
    return f"'{name}' means {len(paths)} runs: {'; '.join(said)}"


def only_row(path: Place, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The only row of a runs file. Raises UserError for another number of rows, and for a run id that is no file's name."""
    if len(rows) != 1:
        raise UserError(f"{path} holds {len(rows)} runs, not one: a runs file of robbench is of one run")
    row = dict(rows[0])
    if not RUN_ID.fullmatch(str(row.get("run_id", "none"))):  # files are named after it
        raise UserError(
            f"{path} has the run id {row['run_id']!r}; robbench writes letters and digits: the file was changed, do not use it"
        )
    return row


def parquet_files(folder: Place) -> list[Place]:
    """The Parquet files of a folder, sorted by name, those being written aside."""
    return sorted((path for path in folder.glob("*.parquet") if not path.name.startswith(".")), key=lambda path: path.name)


def runs_at(path: Place) -> list[Place]:
    """The runs files that a path means: itself, its sibling, or those in a folder, a results folder or an output folder.

    Raises UserError for a path where there are none, and for a file that is not of a run.
    """
    if isinstance(path, Path):
        require_regular(path)
    if path.is_file():
        return [pair(path)[0]]
    if files := _tables_in(path):
        pairs = {str(found): found for found in (pair(file)[0] for file in files)}
        return [entry.path for entry in entries([pairs[name] for name in sorted(pairs)])]
    there = path.exists()
    raise UserError(f"no results in {path}: run robbench attack first" if there else f"{path} does not exist; check the path")


def _tables_in(path: Place) -> list[Place]:
    for folder in (path / "results" / "runs", path / "runs", path):
        if files := parquet_files(folder):
            return files
    return []


def pair(path: Place) -> tuple[Place, Place]:
    """The runs file and the samples file of a run, given either. Raises UserError for a file of another table."""
    kind, _ = table_kind(path)
    if kind not in ("runs", "samples"):
        raise UserError(f"{path} holds {kind}, not the results of a run; name its file in results/runs")
    return (path, beside(path, "samples")) if kind == "runs" else (beside(path, "runs"), path)


def _is_path(name: str) -> bool:
    """Whether a name is meant as a path; `timm:hf-hub:someone/model` is a model, unless there is such a folder."""
    if is_address(name) or name.endswith(".parquet") or name in (".", ".."):
        return True
    separated = "/" in name or os.sep in name
    return separated and (is_there(Path(name)) or glob.has_magic(name))
