"""Where things lie in an output folder, and how a name typed by a person becomes the runs it means.

ROOT/models/<name>/                      what training leaves
ROOT/results/runs/<run_id>.parquet       one row; written last, so it exists only for a complete run
ROOT/results/samples/<run_id>.parquet    one row per sample
ROOT/results/points/<run_id>.parquet     worst inputs, if they were asked for
ROOT/results/{measures,sample_measures}/<run_id>.parquet   what `robbench measure` found (results/measured.py)
ROOT/results/checks/<subject>.parquet    what `check` found, of a run or of a model
ROOT/results/partial/<run_id>/NNNNNN.parquet   finished samples of a run that is not complete
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from robbench.core.errors import RunError, UserError, unknown
from robbench.results.files import read_table, table_kind, write_table
from robbench.results.measured import remove_measures
from robbench.results.schema import CHECKS, EPOCHS, POINTS, RUNS, SCHEMA_VERSION, samples_table, to_table

_SHORTEST_PREFIX = 4


@dataclass(frozen=True)
class Run:
    """A finished run: `info` is its row of the runs table, `samples` its sample rows (or the columns asked for)."""

    info: dict[str, Any]
    samples: pa.Table


@dataclass(frozen=True)
class _Entry:
    """What finding a run needs to know about it."""

    path: Path
    run_id: str
    model: str
    started_at: datetime


class Partial:
    """The finished samples of a run that was stopped, as numbered shards in one folder, their points in a folder inside."""

    def __init__(self, folder: Path, run_id: str) -> None:
        self._folder, self._run_id = folder, run_id

    def rows(self) -> list[dict[str, Any]]:
        """All finished samples, each once. A shard that cannot be read counts as absent: its samples are to be redone."""
        found: dict[int, dict[str, Any]] = {}
        for shard in _parquet_files(self._folder):
            try:
                if table_kind(shard) != ("samples", self._run_id):
                    raise UserError(f"{shard} is not a shard of run {self._run_id}")
                rows = read_table(shard, "samples").to_pylist()
            except UserError:
                continue
            for row in rows:
                found.setdefault(row["sample_id"], row)
        return list(found.values())

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep finished samples; nothing is written for none.

        Raises ValueError or TypeError for rows that do not fit the samples table, RunError when they cannot be written.
        """
        if rows:
            last = max((int(shard.stem) for shard in _parquet_files(self._folder) if shard.stem.isdecimal()), default=-1)
            write_table(self._folder / f"{last + 1:06d}.parquet", samples_table(self._run_id, rows), self._run_id)

    def append_points(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep worst points; to be called before their samples are appended. Raises as `append` does."""
        if rows:
            folder = self._folder / "points"
            number = len(_parquet_files(folder))
            write_table(folder / f"{number:06d}.parquet", to_table(POINTS, rows, run_id=self._run_id), self._run_id)

    def points(self) -> list[dict[str, Any]]:
        """All worst points kept, of each sample the last."""
        found: dict[int, dict[str, Any]] = {}
        for shard in _parquet_files(self._folder / "points"):
            try:
                found |= {row["sample_id"]: row for row in read_table(shard, "points").to_pylist()}
            except UserError:
                continue
        return list(found.values())

    def discard(self) -> None:
        """Remove all shards. Raises RunError when the file system refuses."""
        try:
            shutil.rmtree(self._folder)
        except FileNotFoundError:
            return
        except OSError as error:
            raise RunError(f"cannot remove {self._folder}: {error.strerror or error}") from error


class Store:
    """An output folder. Making one writes nothing; raises UserError when `root` is a file."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        for place in (self.root, *self.root.parents):
            if place.exists() and not place.is_dir():
                raise UserError(f"{place} is a file, not an output folder")

    def check_writable(self) -> None:
        """Raises UserError when nothing can be written here: better known before the work than after it."""
        try:
            folder = self.root / "results"
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise UserError(f"cannot write to {self.root}: {error.strerror or error}; choose another --out") from error

    @property
    def models(self) -> Path:
        """Where trained models lie, each in a folder of its name."""
        return self.root / "models"

    def run_path(self, run_id: str) -> Path:
        """Where the row of a complete run lies."""
        return self._file("runs", run_id)

    def has(self, run_id: str) -> bool:
        """Whether the run is complete: its row and its samples are there."""
        return self.run_path(run_id).is_file() and self._file("samples", run_id).is_file()

    def write(
        self, run: Mapping[str, Any], samples: Sequence[Mapping[str, Any]], points: Sequence[Mapping[str, Any]] | None = None
    ) -> Path:
        """Write a complete run, its row last, and drop its shards; returns the path of its row.

        `run` fills the runs table (schema_version and status may be left out), `samples` the samples table (run_id may be
        left out). Raises ValueError or TypeError, before anything is written, for rows that do not fit; RunError when
        they cannot be written.
        """
        run_id = str(run["run_id"])
        row = to_table(RUNS, [run], schema_version=SCHEMA_VERSION, status="done")
        rows = samples_table(run_id, samples)
        if len(rows) != row["n_samples"][0].as_py():
            raise ValueError(f"run {run_id} counts {row['n_samples'][0].as_py()} samples, but has {len(rows)}")
        remove_measures(self.run_path(run_id))  # they rest on what is replaced now
        if points is not None:
            write_table(self._file("points", run_id), to_table(POINTS, points, run_id=run_id), run_id)
        write_table(self._file("samples", run_id), rows, run_id)
        write_table(self.run_path(run_id), row, run_id)
        self.partial(run_id).discard()
        return self.run_path(run_id)

    def write_checks(self, subject: str, rows: Sequence[Mapping[str, Any]]) -> Path:
        """Write the checks of a run or model (schema_version may be left out); returns the path. Raises as `write` does."""
        path = self._file("checks", subject)
        write_table(path, to_table(CHECKS, rows, schema_version=SCHEMA_VERSION), subject)
        return path

    def checks(self, subject: str) -> list[dict[str, Any]]:
        """The checks of a run or model, none when there are none. Raises UserError when their file is damaged."""
        path = self._file("checks", subject)
        return list(read_table(path, "checks").to_pylist()) if path.exists() else []

    def partial(self, run_id: str) -> Partial:
        """The finished samples of a run that is not complete; there may be none."""
        return Partial(self.root / "results" / "partial" / run_id, run_id)

    def find(self, names: Sequence[str] = ()) -> list[Path]:
        """The files of the runs that `names` mean, in that order, each once; every run of the store for no name.

        A name is a model's name (all its runs, oldest first), a run id or at least 4 characters that only one run id
        starts with, or the path of a runs or samples file or of a folder of them. Raises UserError for a name that means
        nothing, for several runs that an id may mean, for an empty store, and for a file that cannot be read.
        """
        # Paths need no look into this store, which may be empty or of another version.
        entries = [] if names and all(map(_is_path, names)) else _entries(_parquet_files(self.root / "results" / "runs"))
        if not entries and not any(_is_path(name) or Path(name).exists() for name in names):
            raise UserError(self._what_to_do_first())
        found = [path for name in names for path in self._find(name, entries)] if names else [e.path for e in entries]
        return list({path.resolve(): path for path in found}.values())

    def _find(self, name: str, entries: Sequence[_Entry]) -> list[Path]:
        if _is_path(name):
            return _runs_at(Path(name))
        if mine := [entry.path for entry in entries if entry.model == name]:
            return mine
        if len(name) >= _SHORTEST_PREFIX:
            starts = [entry for entry in entries if entry.run_id.startswith(name)]
            if len(starts) > 1:
                raise UserError(f"'{name}' may be any of the runs {', '.join(entry.run_id for entry in starts)}")
            if starts:
                return [starts[0].path]
        if Path(name).exists():
            return _runs_at(Path(name))
        if (self.models / name).is_dir():
            raise UserError(f"model '{name}' has no results yet: run robbench attack {name}")
        like = [entry.run_id for entry in entries if entry.run_id[:3] == name[:3]]
        raise unknown("model, run or path", name, {entry.model for entry in entries}.union(like))

    def _what_to_do_first(self) -> str:
        models = sorted(path.name for path in self.models.glob("*") if path.is_dir())
        if models:
            return f"no results in {self.root}: run first robbench attack {' '.join(models)}"
        return f"no results in {self.root}: run first robbench train --data digits --name ce, then robbench attack ce"

    def _file(self, kind: str, run_id: str) -> Path:
        return self.root / "results" / kind / f"{run_id}.parquet"


def read_run(path: Path | str, columns: Sequence[str] | None = None) -> Run:
    """Read a run from its runs file or from the samples file beside it; of the samples only `columns`, if given.

    Raises UserError, naming the file, when one of the two is missing, damaged, foreign, newer, or of another run.
    """
    row, samples = _pair(Path(path))
    info = _run_row(row)
    rows = read_table(samples, "samples", columns)
    if table_kind(samples)[1] != info["run_id"] or len(rows) != info["n_samples"]:
        raise UserError(f"{samples} does not hold the {info['n_samples']} samples of run {info['run_id']}")
    return Run(info, rows)


def read_points(path: Path | str) -> list[dict[str, Any]]:
    """The worst points of a run, given its runs file. Raises UserError when it kept none, or its file is damaged."""
    row, _ = _pair(Path(path))
    points = row.absolute().parent.parent / "points" / row.name
    if not points.exists():
        raise UserError(f"run {row.stem} kept no points to replay: attack with --store-points")
    return list(read_table(points, "points").to_pylist())


def write_epochs(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the epochs of a training, one row each (schema_version may be left out); raises as `Store.write` does."""
    model = str(rows[0]["model"]) if rows else ""
    write_table(Path(path), to_table(EPOCHS, rows, schema_version=SCHEMA_VERSION), model)


def read_epochs(path: Path) -> list[dict[str, Any]]:
    """The epochs of a training. Raises UserError, naming the file, when it is missing, damaged, foreign or newer."""
    return list(read_table(Path(path), "epochs").to_pylist())


def _run_row(path: Path, columns: Sequence[str] | None = None) -> dict[str, Any]:
    rows = read_table(path, "runs", columns).to_pylist()
    if len(rows) != 1:
        raise UserError(f"{path} holds {len(rows)} runs, not one")
    return dict(rows[0])


def _is_path(name: str) -> bool:
    """Whether a name is meant as a path; `timm:hf-hub:someone/model` is a model, unless there is such a folder."""
    separated = "/" in name or os.sep in name
    return name.endswith(".parquet") or name in (".", "..") or (separated and Path(name).exists())


def _parquet_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.parquet") if not path.name.startswith("."))


def _entries(paths: Sequence[Path]) -> list[_Entry]:
    """What the runs files say about themselves, oldest run first."""

    def entry(path: Path) -> _Entry:
        row = _run_row(path, ("run_id", "model", "started_at"))
        return _Entry(path, row["run_id"], row["model"], row["started_at"])

    with ThreadPoolExecutor() as pool:
        return sorted(pool.map(entry, paths), key=lambda found: (found.started_at, found.run_id))


def _runs_at(path: Path) -> list[Path]:
    """The runs files that a path means: itself, its sibling, or those in a folder, a results folder or an output folder."""
    if path.is_file():
        return [_pair(path)[0]]
    for folder in (path / "results" / "runs", path / "runs", path):
        if files := _parquet_files(folder):
            pairs = {_pair(file)[0] for file in files}
            return [entry.path for entry in _entries(sorted(pairs))]
    raise UserError(f"no results in {path}" if path.exists() else f"{path} does not exist")


def _pair(path: Path) -> tuple[Path, Path]:
    """The runs file and the samples file of a run, given either."""
    kind, _ = table_kind(path)
    if kind not in ("runs", "samples"):
        raise UserError(f"{path} holds {kind}, not the results of a run")
    folder = path.absolute().parent.parent
    return (path, folder / "samples" / path.name) if kind == "runs" else (folder / "runs" / path.name, path)
