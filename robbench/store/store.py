"""The layout of an output folder, and how runs are written there and read.

ROOT/models/<name>/                      what training leaves
ROOT/results/runs/<run_id>.parquet       one row; written last, so it exists only for a complete run
ROOT/results/.runs.parquet               an index of those rows, where there are many
ROOT/results/samples/<run_id>.parquet    one row per sample
ROOT/results/points/<run_id>.parquet     worst inputs, if they were asked for
ROOT/results/{measures,sample_measures}/<run_id>.parquet   what `measure` found
ROOT/results/checks/<subject>.parquet    what `check` found, of a run or of a model
ROOT/results/certificates/<id>.parquet   what `certify` proved, of a model, threat and method
ROOT/results/code/<run_id>/              copies of the private code behind a run, if there is any
ROOT/results/partial/<run_id>/NNNNNN*.parquet  finished samples of an incomplete run; answers.json;
                                         folders of points, audited and other runs' samples
ROOT/results/locks/<run_id>.lock.*       while processes work on the run: who, renewed as they do
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from robbench.core.errors import UserError
from robbench.core.files import check_writable
from robbench.core.model_config import Listed, read_config
from robbench.store.address.copies import bring, bring_runs, mirror_of
from robbench.store.find import Finder, parquet_files
from robbench.store.from_rows import samples_table, to_table
from robbench.store.hints import command
from robbench.store.index import run_rows
from robbench.store.locations import Location
from robbench.store.locks import locked_runs
from robbench.store.measured import remove_measures
from robbench.store.partial import Partial
from robbench.store.schema import CERTIFICATES, CHECKS, POINTS, RUNS, SCHEMA_VERSION
from robbench.store.tables import (
    read_table,
    write_batches,
    write_table,
)


class Store:
    """An output folder. Making one writes nothing; raises UserError when `root` is a file."""

    def __init__(self, root: Path | str) -> None:
        if re.match(r"[a-z][a-z0-9+]+:/", str(root)):  # a path has made one slash of the two
            raise UserError(
                f"--out {root}: this is a path; write an address in full and as a text, such as "
                "s3://bucket/runs"
            )
        # Absolute: a model's code may change the working folder, and `a:b/c` is an address to
        # Arrow.
        try:
            self.root = Path(root).expanduser().absolute()
            str(self.root).encode()
        except RuntimeError as error:
            raise UserError(
                f"--out {root}: {str(error).lower()}; write the folder in full"
            ) from None
        except UnicodeEncodeError:
            raise UserError(
                f"--out {os.fsencode(root)!r} is not UTF-8, as names of Parquet files are; choose "
                "another"
            ) from None
        for place in (self.root, *self.root.parents):
            if place.exists() and not place.is_dir():
                raise UserError(f"{place} is a file, not an output folder; choose another --out")

    def check_writable(self) -> None:
        """Raises UserError when nothing can be written here: better before the work than after."""
        check_writable(self.root / "results")
        if (mirror := mirror_of(self.root)) is not None:
            mirror.place.check_writable()

    def locked(
        self,
        subjects: Sequence[str],
        *,
        say: Callable[[str], None],
        asked_to_stop: Callable[[], None] = lambda: None,
        shared: bool = False,
    ) -> contextlib.AbstractContextManager[None]:
        """Own some runs, or other subjects of checks, while something is written about them.

        shared: together with other parts of the same runs. See `core.lock.locked`.
        """
        return locked_runs(
            self.root / "results", subjects, say=say, asked_to_stop=asked_to_stop, shared=shared
        )

    @property
    def models(self) -> Path:
        """The folder of trained models, each in a folder of its name."""
        return self.root / "models"

    def run_path(self, run_id: str) -> Path:
        """The file with the row of a complete run."""
        return self._file("runs", run_id)

    def code_path(self, run_id: str) -> Path:
        """The folder of the private code that a run rests on; there may be none."""
        return self.root / "results" / "code" / run_id

    def has(self, run_id: str) -> bool:
        """Whether the run is complete: its row and its samples are there."""
        self._bring_run(run_id)
        return self.run_path(run_id).is_file() and self._file("samples", run_id).is_file()

    def write(
        self,
        run: Mapping[str, Any],
        samples: Sequence[Mapping[str, Any]],
        points: Iterable[pa.Table] | None = None,
        *,
        keep_shards: bool = False,
    ) -> Path:
        """Write a complete run, its row last, and drop its shards unless `keep_shards`.

        Returns the path of its row.

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
        # They rest on what is replaced now, and so do its checks.
        remove_measures(self.run_path(run_id))
        self._file("checks", run_id).unlink(missing_ok=True)
        if points is not None:
            write_batches(self._file("points", run_id), POINTS, points, run_id)
        write_table(self._file("samples", run_id), rows, run_id)
        write_table(self.run_path(run_id), row, run_id)
        if not keep_shards:
            self.partial(run_id).discard()
        return self.run_path(run_id)

    def write_checks(self, subject: str, rows: Sequence[Mapping[str, Any]]) -> Path:
        """Write the checks of a run or model (schema_version may be left out); returns the path.

        Raises as `write` does.
        """
        path = self._file("checks", subject)
        write_table(path, to_table(CHECKS, rows, schema_version=SCHEMA_VERSION), subject)
        return path

    def has_checks(self, subject: str) -> bool:
        """Whether a run or model has been checked."""
        return self._file("checks", subject).is_file()

    def checks(self, subject: str) -> list[dict[str, Any]]:
        """The checks of a run or model, none when there are none.

        Raises UserError when their file is damaged.
        """
        path = self._file("checks", subject)
        return list(read_table(path, "checks").to_pylist()) if path.exists() else []

    def certificates_path(self, name: str) -> Path:
        """The file with the certificates of an id."""
        return self._file("certificates", name)

    def write_certificates(self, name: str, rows: Sequence[Mapping[str, Any]]) -> Path:
        """Write the certificates of a model, threat and method, whose id is `name`.

        schema_version and the id may be left out. Raises as `write` does.
        """
        path = self.certificates_path(name)
        table = to_table(CERTIFICATES, rows, schema_version=SCHEMA_VERSION, certificates_id=name)
        write_table(path, table, name)
        return path

    def certificates(self, name: str) -> list[dict[str, Any]]:
        """The certificates of an id, none when there are none. UserError for a damaged file."""
        path = self.certificates_path(name)
        bring(path)
        return list(read_table(path, "certificates").to_pylist()) if path.exists() else []

    def partial(self, run_id: str, *, shared: bool = False) -> Partial:
        """The finished samples of a run that is not complete; there may be none.

        shared: other processes add some at the same time.
        """
        self._bring_run(run_id)
        return Partial(self.root / "results" / "partial" / run_id, run_id, shared=shared)

    def rows(self, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """The rows of all runs that can be read, as the runs table has them, or some columns."""
        rows = run_rows(parquet_files(self.root / "results" / "runs"), columns)
        # Reading the run reports what is wrong with it.
        return [row for row in rows if not isinstance(row, UserError)]

    def find(
        self, names: Sequence[str] = (), unreadable: list[UserError] | None = None
    ) -> list[Location]:
        """The files of the runs that `names` mean, in that order, each once.

        Every run of the store for no name.

        A name is a model's name (all its runs, oldest first), a run id or at least 4 characters
        that only one run id starts with, the path or address (s3://...) of a runs or samples file
        or of a folder of them, or a pattern of any of these with * ? or []; NAME@latest is of all
        runs that NAME means the one started last. Raises UserError for a name that means nothing,
        for several runs that an id may mean, for an empty store, and for a file that cannot be
        read, as it may be of any of these runs: unless there are only paths and whole run ids, or
        the error is added to `unreadable`. RunError when another machine does not answer.
        """
        found = Finder(self.root / "results" / "runs", self.models, self._what_to_do_first).find(
            names, unreadable
        )
        bring_runs(found)
        return found

    def find_local(
        self, names: Sequence[str] = (), unreadable: list[UserError] | None = None
    ) -> list[Path]:
        """As `find`, for what writes beside a run or reads what only this machine has.

        UserError for an address too.
        """
        found = local(self.find(names, unreadable))
        bring_runs(found, points=True)
        return found

    def command(self, *words: str) -> str:
        """`robbench WORDS` for a shell, about this folder."""
        return command(*words, out=self.root)

    def _bring_run(self, run_id: str) -> None:
        """Have all of a run here, where this folder is the working copy of an address."""
        bring_runs([self.run_path(run_id)], points=True)
        bring(self.root / "results" / "partial" / run_id)

    def _what_to_do_first(self) -> str:
        models = sorted(path.name for path in self.models.glob("*") if path.is_dir())
        unfinished = [name for name in models if not self._may_be_attacked(name)]
        if models and models == unfinished:
            return (
                f"no results in {self.root}, and {', '.join(models)} not finished: give the train "
                f"command again, which {self.command('runs')} shows"
            )
        models = [name for name in models if name not in unfinished]
        if models:
            return f"no results in {self.root}: run first {self.command('attack', *models)}"
        train = self.command("train", "--data", "digits", "--name", "ce")
        return f"no results in {self.root}: run first {train}, then {self.command('attack', 'ce')}"

    def _may_be_attacked(self, model: str) -> bool:
        """Whether a training has ended; True where only the attack can say what is wrong."""
        try:
            config = read_config(self.models / model / "config.json", Listed)
        except UserError:
            return True
        return bool(config["status"] == "done")

    def _file(self, kind: str, run_id: str) -> Path:
        return self.root / "results" / kind / f"{run_id}.parquet"


def local(places: Sequence[Location]) -> list[Path]:
    """Raises UserError for a run on another machine."""
    for place in places:
        if not isinstance(place, Path):
            raise UserError(
                f"{place} is on another machine: copy the folder here, and name the copy"
            )
    return [place for place in places if isinstance(place, Path)]
