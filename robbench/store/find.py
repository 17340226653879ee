"""How a name typed by a person becomes the runs it means."""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from robbench.core.documents import require_regular
from robbench.core.errors import UserError, unknown
from robbench.store.hints import command
from robbench.store.index import run_rows
from robbench.store.locations import Location, is_address, is_there, locate, matches, sibling_table
from robbench.store.row import RUN_ID, run_row
from robbench.store.settings import settings
from robbench.store.tables import table_kind

SHORTEST_PREFIX = 4
LATEST = "@latest"
"""At the end of a name: of the runs it means the one that was started last."""
STOPPED_EARLY = "stopped early"
"""Status of a run of those samples only that it took a gate to decide."""


@dataclass(frozen=True)
class RunRef:
    """What finding a run needs to know about it."""

    path: Location
    run_id: str
    model: str
    started_at: datetime
    eps: float
    whole: bool  # not stopped by a gate that had seen enough


class Finder:
    """Finds runs by name in the folder of runs files `runs`.

    `models` is the folder of trained models.
    """

    def __init__(self, runs: Path, models: Path, empty: Callable[[], str]) -> None:
        self._models, self._empty = models, empty
        self._runs = runs
        self._refs: list[RunRef] = []

    def find(
        self, names: Sequence[str], unreadable: list[UserError] | None = None
    ) -> list[Location]:
        """See `Store.find`."""
        # Paths and whole ids need no look at the other runs, which may be damaged or of another
        # version.
        if not names or not all(_is_path(name) or self._has(name) for name in names):
            self._refs = run_refs(parquet_files(self._runs), unreadable)
            if not self._refs and not any(map(_may_be_elsewhere, names)):
                raise UserError(self._empty())
        found = (
            [path for name in names for path in self._named(name)] if names else _paths(self._refs)
        )
        folders = {folder: _resolved(folder) for folder in {path.parent for path in found}}
        return list(
            {
                _resolved(path) if _is_link(path) else folders[path.parent] / path.name: path
                for path in found
            }.values()
        )

    def _named(self, name: str) -> list[Location]:
        if any(ref.model == name for ref in self._refs):
            return _paths([ref for ref in self._refs if ref.model == name])
        if self._has(name):
            return [self._runs / f"{name}.parquet"]
        if len(name) > len(LATEST) and name.endswith(LATEST):
            return [run_refs(self._named(name.removesuffix(LATEST)))[-1].path]
        if glob.has_magic(name) and (is_address(name) or not is_there(Path(name))):
            return self._matching(name)
        if _is_path(name):
            return runs_at(locate(name))
        if len(name) >= SHORTEST_PREFIX:
            starts = [ref for ref in self._refs if ref.run_id.startswith(name)]
            if len(starts) > 1:
                raise UserError(
                    f"'{name}' may be any of the runs {', '.join(e.run_id for e in starts)}; give "
                    "more of the id"
                )
            if starts:
                return [starts[0].path]
        if is_there(Path(name)):
            return runs_at(Path(name))
        if (self._models / name).is_dir():
            how = command("attack", name, out=self._models.parent)
            raise UserError(f"model '{name}' has no results yet: run {how}")
        like = [ref.run_id for ref in self._refs if ref.run_id[:3] == name[:3]]
        raise unknown("model, run or path", name, {ref.model for ref in self._refs}.union(like))

    def _has(self, run_id: str) -> bool:
        return bool(RUN_ID.fullmatch(run_id)) and (self._runs / f"{run_id}.parquet").is_file()

    def _matching(self, pattern: str) -> list[Location]:
        """The runs whose model, id, file or folder matches a pattern with * ? or []."""
        mine = [
            e
            for e in self._refs
            if any(fnmatch.fnmatchcase(text, pattern) for text in (e.model, e.run_id))
        ]
        if mine:
            return _paths(mine)
        # Among what fits, folders of other things are passed over; alone they would be an error.
        found = [path for path in matches(pattern) if path.is_file() or _tables_in(path)]
        if not found:
            raise UserError(
                f"no model, run or path with results fits '{pattern}'; "
                f"{command('runs', out=self._models.parent)} shows what is there"
            )
        return [path for each in found for path in runs_at(each)]


def _resolved(path: Location) -> Location:
    return path.resolve() if isinstance(path, Path) else path


def _is_link(path: Location) -> bool:
    return isinstance(path, Path) and path.is_symlink()


def _paths(found: Sequence[RunRef]) -> list[Location]:
    """Their paths, without runs that a gate ended early, unless there are no others."""
    return [ref.path for ref in found if ref.whole] or [ref.path for ref in found]


def run_refs(paths: Sequence[Location], unreadable: list[UserError] | None = None) -> list[RunRef]:
    """The identities of runs files, oldest run first, of one security curve the smallest eps.

    Raises UserError for a file that cannot be read, or adds that to `unreadable`.
    """
    rows = run_rows(paths, ("run_id", "model", "started_at", "eps", "status"))
    problems = [row for row in rows if isinstance(row, UserError)]
    if unreadable is not None:
        unreadable += problems
    elif problems:
        raise problems[0]
    refs = [
        RunRef(
            path,
            row["run_id"],
            row["model"],
            row["started_at"],
            row["eps"],
            row["status"] != STOPPED_EARLY,
        )
        for path, row in zip(paths, rows, strict=True)
        if not isinstance(row, UserError)
    ]
    return sorted(refs, key=lambda found: (found.started_at, found.eps, found.run_id))


def several_runs(name: str, paths: Sequence[Location]) -> str:
    """Which runs a name means, for the message that asks for one.

    Raises UserError as `run_row` does.
    """
    rows = [run_row(path) for path in paths]
    form = "{run_id} ({threat}, {attack}, {n_samples} samples{apart})"
    said = [
        form.format(**row, apart=f", {apart}" if apart else "")
        for row, apart in zip(rows, settings(rows), strict=True)
    ]
    return (
        f"'{name}' means {len(paths)} runs: {'; '.join(said)}. {name}{LATEST} is the last of them"
    )


def parquet_files(folder: Location) -> list[Location]:
    """The Parquet files of a folder, sorted by name, those being written aside."""
    return sorted(
        (path for path in folder.glob("*.parquet") if not path.name.startswith(".")),
        key=lambda path: path.name,
    )


def runs_at(path: Location) -> list[Location]:
    """The runs files of a path: a table of a run, a results folder or an output folder.

    Raises UserError for a path where there are none, and for a file that is not of a run.
    """
    if isinstance(path, Path):
        require_regular(path)
    if path.is_file():
        return [pair(path)[0]]
    if files := _tables_in(path):
        pairs = {str(found): found for found in (pair(file)[0] for file in files)}
        return [ref.path for ref in run_refs([pairs[name] for name in sorted(pairs)])]
    there = path.exists()
    raise UserError(
        f"no results in {path}: run robbench attack first"
        if there
        else f"{path} does not exist; check the path"
    )


def _tables_in(path: Location) -> list[Location]:
    for folder in (path / "results" / "runs", path / "runs", path):
        if files := parquet_files(folder):
            return files
    return []


def pair(path: Location) -> tuple[Location, Location]:
    """The runs file and the samples file of a run, given either.

    Raises UserError for a file of another table.
    """
    kind, _ = table_kind(path)
    if kind not in ("runs", "samples"):
        raise UserError(
            f"{path} holds {kind}, not the results of a run; name its file in results/runs"
        )
    return (
        (path, sibling_table(path, "samples"))
        if kind == "runs"
        else (sibling_table(path, "runs"), path)
    )


def _may_be_elsewhere(name: str) -> bool:
    name = name.removesuffix(LATEST)
    return _is_path(name) or is_there(Path(name))


def _is_path(name: str) -> bool:
    """Whether a name is meant as a path.

    `timm:hf-hub:someone/model` is a model, unless there is such a folder.
    """
    name = name.removesuffix(LATEST)
    if is_address(name) or name.endswith(".parquet") or name in (".", ".."):
        return True
    separated = "/" in name or os.sep in name
    return separated and (is_there(Path(name)) or glob.has_magic(name))
