"""The finished samples of an incomplete run, stored so that the same command resumes it."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from robbench.core.documents import read_text
from robbench.core.errors import UserError
from robbench.core.files import atomic_write, cannot_write
from robbench.core.leftovers import remove, sweep, temporary_in
from robbench.store.find import parquet_files
from robbench.store.from_rows import samples_table, to_table
from robbench.store.locations import Location
from robbench.store.schema import POINTS
from robbench.store.tables import read_table, table_kind, write_table

_ANSWERS, _PLAN = "answers.json", "plan.json"


class Partial:
    """The finished samples of a stopped run: numbered shards in a folder.

    Worst points, the samples of the audit and those of other runs are in folders of their own
    within it. shared: other processes write at the same time, so that its shards have names which
    no other takes.
    """

    def __init__(self, folder: Path, run_id: str, *, shared: bool = False) -> None:
        self._folder, self._run_id = folder, run_id
        self._suffix = f"-{uuid.uuid4().hex[:8]}" if shared else ""

    def beside(self, run_id: str) -> Partial:
        """Samples of another run that this one needs; they are discarded with its own."""
        return Partial(self._folder / run_id, run_id, shared=bool(self._suffix))

    def rows(self) -> list[dict[str, Any]]:
        """All samples that the run's own attacks have decided, each once.

        A shard that cannot be read counts as absent: its samples are to be redone.
        """
        return self._read(self._folder)

    def audited_rows(self) -> list[dict[str, Any]]:
        """All samples that the audit has decided, each once; `rows` has them as they were before.

        What cannot be read counts as absent.
        """
        return self._read(self._audited)

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep finished samples; nothing is written for none.

        Raises ValueError or TypeError for rows that do not fit the samples table, RunError when
        they cannot be written.
        """
        if rows:
            self._write(self._folder, samples_table(self._run_id, rows))

    def append_audited(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep samples as they are after the audit. Raises as `append` does."""
        if rows:
            self._write(self._audited, samples_table(self._run_id, rows))

    def append_points(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep worst points; to be called before their samples are appended.

        Raises as `append` does.
        """
        if rows:
            self._write(self._points, to_table(POINTS, rows, run_id=self._run_id))

    def points(self) -> Iterator[pa.Table]:
        """All worst points kept, of each sample the last, as parts of a points table.

        What cannot be read counts as absent.
        """
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

    @property
    def _audited(self) -> Path:
        return self._folder / "audited"

    def _read(self, folder: Path) -> list[dict[str, Any]]:
        found: dict[int, dict[str, Any]] = {}
        for shard in parquet_files(folder):
            try:
                if table_kind(shard) != ("samples", self._run_id):
                    raise UserError(f"{shard} is not a shard of run {self._run_id}")
                rows = read_table(shard, "samples").to_pylist()
            except UserError:
                continue
            for row in rows:
                found.setdefault(row["sample_id"], row)
        return list(found.values())

    def _write(self, folder: Path, table: pa.Table) -> None:
        """As the last shard of a folder."""
        stems = [shard.stem.partition("-")[0] for shard in parquet_files(folder)]
        last = max((int(stem) for stem in stems if stem.isdecimal()), default=-1)
        write_table(folder / f"{last + 1:06d}{self._suffix}.parquet", table, self._run_id)

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
        return self._text(_ANSWERS)

    def keep_plan(self, text: str) -> None:
        """Note, as JSON, what else the run takes once its samples are there. As `append` does."""
        atomic_write(self._folder / _PLAN, lambda path: path.write_text(text, encoding="utf-8"))

    def plan(self) -> str | None:
        """What the last part noted; None when that is not known."""
        return self._text(_PLAN)

    def _text(self, name: str) -> str | None:
        try:
            return read_text(self._folder / name, name, "JSON")
        except UserError:
            return None

    def discard(self) -> None:
        """Remove all shards, in one step for any reader.

        Raises UserError or RunError when the file system refuses.
        """
        gone = temporary_in(self._folder.parent)
        try:
            self._folder.rename(gone)
            remove(gone)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise cannot_write(self._folder, error, "remove") from error
        sweep(self._folder.parent)
