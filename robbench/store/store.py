"""Where things lie in an output folder, and how runs are written there and read.

ROOT/models/<name>/                      what training leaves
ROOT/results/runs/<run_id>.parquet       one row; written last, so it exists only for a complete run
ROOT/results/samples/<run_id>.parquet    one row per sample
ROOT/results/points/<run_id>.parquet     worst inputs, if they were asked for
ROOT/results/{measures,sample_measures}/<run_id>.parquet   what `robbench measure` found (store/measured.py)
ROOT/results/checks/<subject>.parquet    what `check` found, of a run or of a model
ROOT/results/partial/<run_id>/NNNNNN.parquet   finished samples of a run that is not complete; beside them answers.json
ROOT/results/locks/<run_id>.lock         while a process works on the run
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from robbench.core.documents import read_text
from robbench.core.errors import UserError
from robbench.core.files import atomic_write, cannot_write, check_writable
from robbench.core.leftovers import remove, sweep, temporary_in
from robbench.core.lock import locked
from robbench.store.find import Finder, only_row, pair, parquet_files
from robbench.store.locations import Location, sibling_table
from robbench.store.measured import remove_measures
from robbench.store.schema import (
    CHECKS,
    EPOCHS,
    POINTS,
    RUNS,
    SCHEMA_VERSION,
    samples_table,
    to_table,
)
from robbench.store.tables import (
    number_of_groups,
    read_table,
    table_kind,
    write_batches,
    write_table,
)

_TOLD_WHEN_ABSENT = ("budget", "flags", "precision")
"""Columns that change how a run's numbers are to be read: a run without them may have been stopped early, or been warned of."""
_ANSWERS = "answers.json"


@dataclass(frozen=True)
class Run:
    """A finished run: `info` is its row of the runs table, `samples` its sample rows (or the columns asked for).

    `older` says in what way its files are those of an older robbench, such as `schema version 0`;
    empty when they are not.
    """

    info: dict[str, Any]
    samples: pa.Table
    older: str = ""


class Partial:
    """The finished samples of a run that was stopped, as numbered shards in one folder, their points in a folder inside."""

    def __init__(self, folder: Path, run_id: str) -> None:
        self._folder, self._run_id = folder, run_id

    def rows(self) -> list[dict[str, Any]]:
        """All finished samples, each once. A shard that cannot be read counts as absent: its samples are to be redone."""
        found: dict[int, dict[str, Any]] = {}
        for shard in parquet_files(self._folder):
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

        Raises ValueError or TypeError for rows that do not fit the samples table, RunError when
        they cannot be written.
        """
        if rows:
            last = max(
                (
                    int(shard.stem)
                    for shard in parquet_files(self._folder)
                    if shard.stem.isdecimal()
                ),
                default=-1,
            )
            write_table(
                self._folder / f"{last + 1:06d}.parquet",
                samples_table(self._run_id, rows),
                self._run_id,
            )

    def append_points(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep worst points; to be called before their samples are appended. Raises as `append` does."""
        if rows:
            last = max(
                (
                    int(shard.stem)
                    for shard in parquet_files(self._points)
                    if shard.stem.isdecimal()
                ),
                default=-1,
            )
            write_table(
                self._points / f"{last + 1:06d}.parquet",
                to_table(POINTS, rows, run_id=self._run_id),
                self._run_id,
            )

    def points(self) -> Iterator[pa.Table]:
        """All worst points kept, of each sample the last, as parts of a points table. What cannot be read counts as absent."""
        last = {
            sample: shard
            for shard, found in self._point_shards()
            for sample in found["sample_id"].to_pylist()
        }
        for shard, found in self._point_shards():
            ids = found["sample_id"].to_pylist()
            rows = {sample: n for n, sample in enumerate(ids) if last.get(sample) == shard}
            if rows:
                yield found.take(list(rows.values()))

    def samples_with_points(self) -> set[int]:
        """The ids of the samples that `points` has."""
        return {
            sample for _, found in self._point_shards() for sample in found["sample_id"].to_pylist()
        }

    @property
    def _points(self) -> Path:
        return self._folder / "points"

    def _point_shards(self) -> Iterator[tuple[Location, pa.Table]]:
        for shard in parquet_files(self._points):
            with contextlib.suppress(UserError):
                if table_kind(shard) == ("points", self._run_id):
                    yield shard, read_table(shard, "points")

    def keep_answers(self, text: str) -> None:
        """Note what the model answered before its first sample. Raises as `append` does."""
        if self.answers() is None:
            atomic_write(
                self._folder / _ANSWERS, lambda path: path.write_text(text, encoding="utf-8")
            )

    def answers(self) -> str | None:
        """What the model answered before the first sample; None when that is not known."""
        try:
            return read_text(self._folder / _ANSWERS, "the answers", "JSON")
        except UserError:
            return None

    def discard(self) -> None:
        """Remove all shards, in one step for whoever looks. Raises UserError or RunError when the file system refuses."""
        gone = temporary_in(self._folder.parent)
        try:
            self._folder.rename(gone)
            remove(gone)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise cannot_write(self._folder, error, "remove") from error
        sweep(self._folder.parent)


class Store:
    """An output folder. Making one writes nothing; raises UserError when `root` is a file."""

    def __init__(self, root: Path | str) -> None:
        if re.match(r"[a-z][a-z0-9+]+:/", str(root)):  # a path has made one slash of the two
            raise UserError(
                f"--out {root}: an output folder is a local one; to read an address give it as a RUN or DIR instead"
            )
        try:  # absolute: a model's code may change the working folder, and `a:b/c` is an address to Arrow
            self.root = Path(root).expanduser().absolute()
            str(self.root).encode()
        except RuntimeError as error:
            raise UserError(
                f"--out {root}: {str(error).lower()}; write the folder in full"
            ) from None
        except UnicodeEncodeError:
            raise UserError(
                f"--out {os.fsencode(root)!r} is not UTF-8, as names of Parquet files are; choose another"
            ) from None
        for place in (self.root, *self.root.parents):
            if place.exists() and not place.is_dir():
                raise UserError(f"{place} is a file, not an output folder; choose another --out")

    def check_writable(self) -> None:
        """Raises UserError when nothing can be written here: better known before the work than after it."""
        check_writable(self.root / "results")

    def locked(self, subjects: Sequence[str], *, say: Callable[[str], None], asked_to_stop: Callable[[], None] = lambda: None
               ) -> contextlib.AbstractContextManager[None]:  # fmt: skip
        """Own some runs, or other subjects of checks, while something is written about them. See `core.lock.locked`."""
        return locked_runs(self.root / "results", subjects, say=say, asked_to_stop=asked_to_stop)

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

    def write(self, run: Mapping[str, Any], samples: Sequence[Mapping[str, Any]], points: Iterable[pa.Table] | None = None, *,
              keep_shards: bool = False) -> Path:  # fmt: skip
        """Write a complete run, its row last, and drop its shards (unless told); returns the path of its row.

        `run` fills the runs table (schema_version and status may be left out), `samples` the
        samples table (run_id may be left out); `points` are parts of the points table. Raises
        ValueError or TypeError, before anything is written, for rows that do not fit; RunError when
        they cannot be written.
        """
        run_id = str(run["run_id"])
        row = to_table(RUNS, [run], schema_version=SCHEMA_VERSION, status="done")
        rows = samples_table(run_id, samples)
        if len(rows) != row["n_samples"][0].as_py():
            raise ValueError(
                f"run {run_id} counts {row['n_samples'][0].as_py()} samples, but has {len(rows)}"
            )
        remove_measures(
            self.run_path(run_id)
        )  # they rest on what is replaced now, and so do its checks
        self._file("checks", run_id).unlink(missing_ok=True)
        if points is not None:
            write_batches(self._file("points", run_id), POINTS, points, run_id)
        write_table(self._file("samples", run_id), rows, run_id)
        write_table(self.run_path(run_id), row, run_id)
        if not keep_shards:
            self.partial(run_id).discard()
        return self.run_path(run_id)

    def write_checks(self, subject: str, rows: Sequence[Mapping[str, Any]]) -> Path:
        """Write the checks of a run or model (schema_version may be left out); returns the path. Raises as `write` does."""
        path = self._file("checks", subject)
        write_table(path, to_table(CHECKS, rows, schema_version=SCHEMA_VERSION), subject)
        return path

    def has_checks(self, subject: str) -> bool:
        """Whether a run or model has been checked."""
        return self._file("checks", subject).is_file()

    def checks(self, subject: str) -> list[dict[str, Any]]:
        """The checks of a run or model, none when there are none. Raises UserError when their file is damaged."""
        path = self._file("checks", subject)
        return list(read_table(path, "checks").to_pylist()) if path.exists() else []

    def partial(self, run_id: str) -> Partial:
        """The finished samples of a run that is not complete; there may be none."""
        return Partial(self.root / "results" / "partial" / run_id, run_id)

    def find(self, names: Sequence[str] = ()) -> list[Location]:
        """The files of the runs that `names` mean, in that order, each once; every run of the store for no name.

        A name is a model's name (all its runs, oldest first), a run id or at least 4 characters
        that only one run id starts with, the path or address (s3://...) of a runs or samples file
        or of a folder of them, or a pattern of any of these with * ? or []. Raises UserError for a
        name that means nothing, for several runs that an id may mean, for an empty store, and for a
        file that cannot be read; RunError when another machine does not answer.
        """
        return Finder(self.root / "results" / "runs", self.models, self._what_to_do_first).find(
            names
        )

    def find_local(self, names: Sequence[str] = ()) -> list[Path]:
        """As `find`, for what writes beside a run or reads what only this machine has. UserError for an address too."""
        found = self.find(names)
        for place in found:
            if not isinstance(place, Path):
                raise UserError(
                    f"{place} is on another machine: copy the folder here, and name the copy"
                )
        return [place for place in found if isinstance(place, Path)]

    def _what_to_do_first(self) -> str:
        models = sorted(path.name for path in self.models.glob("*") if path.is_dir())
        if models:
            return f"no results in {self.root}: run first robbench attack {' '.join(models)}"
        return f"no results in {self.root}: run first robbench train --data digits --name ce, then robbench attack ce"

    def _file(self, kind: str, run_id: str) -> Path:
        return self.root / "results" / kind / f"{run_id}.parquet"


@contextlib.contextmanager
def locked_runs(results: Path, subjects: Sequence[str], *, say: Callable[[str], None],
                asked_to_stop: Callable[[], None] = lambda: None) -> Iterator[None]:  # fmt: skip
    """As `Store.locked`, for the runs of a folder of results."""
    with contextlib.ExitStack() as stack:
        for subject in sorted(
            set(subjects)
        ):  # in one order for all, so that no two wait for each other
            path = results / "locks" / f"{subject}.lock"
            stack.enter_context(
                locked(path, f"run {subject}", say=say, asked_to_stop=asked_to_stop)
            )
        sweep(results / "partial")  # of who died while it dropped the shards of a run that was done
        yield


def read_run(path: Location | str, columns: Sequence[str] | None = None) -> Run:
    """Read a run from its runs file or from the samples file beside it; of the samples only `columns`, if given.

    Raises UserError, naming the file, when one of the two is missing, damaged, foreign, newer, or
    of another run.
    """
    row, samples = pair(Path(path) if isinstance(path, str) else path)
    table = read_table(row, "runs")
    info = only_row(row, table.to_pylist())
    if not samples.exists():
        raise UserError(
            f"{samples} does not exist: copy it beside its run, or attack {info['model']} again with --force"
        )
    rows = read_table(samples, "samples", columns)
    if (
        rows.schema.metadata[b"robbench.run"].decode() != info["run_id"]
        or len(rows) != info["n_samples"]
    ):
        wrong = f"{samples} does not hold the {info['n_samples']} samples of run {info['run_id']}"
        raise UserError(
            f"{wrong}: copy the right one, or attack {info['model']} again with --force"
        )
    return Run(info, rows, _older(table.schema.metadata))


def _older(facts: Mapping[bytes, bytes]) -> str:
    if (version := int(facts[b"robbench.schema_version"])) < SCHEMA_VERSION:
        return f"schema version {version}"
    absent = [
        name for name in facts[b"robbench.absent"].decode().split(",") if name in _TOLD_WHEN_ABSENT
    ]
    return f"no {', '.join(absent)}" if absent else ""


def read_points(path: Location | str) -> Iterator[dict[str, Any]]:
    """The worst points of a run, given its runs file, read part by part. UserError for none, or where they are damaged."""
    row, _ = pair(Path(path) if isinstance(path, str) else path)
    points = sibling_table(row, "points")
    if not points.exists():
        raise UserError(f"run {row.stem} kept no points to replay: attack with --store-points")
    groups = range(number_of_groups(points))
    return (
        point for group in groups for point in read_table(points, "points", group=group).to_pylist()
    )


def write_epochs(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the epochs of a training, one row each (schema_version may be left out); raises as `Store.write` does."""
    model = str(rows[0]["model"]) if rows else ""
    write_table(Path(path), to_table(EPOCHS, rows, schema_version=SCHEMA_VERSION), model)


def read_epochs(path: Path) -> list[dict[str, Any]]:
    """The epochs of a training. Raises UserError, naming the file, when it is missing, damaged, foreign or newer."""
    return list(read_table(Path(path), "epochs").to_pylist())
