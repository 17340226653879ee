"""The rows of many runs files, from an index beside them as far as it has them.

RESULTS/.runs.parquet repeats the rows of RESULTS/runs/*.parquet, each with the size and the times
of its file. A row counts only while the file still has these; all others are read from the files,
which alone are the truth. Who finds that many are not in the index writes it anew. Where nothing
may be written, or the index is damaged, reading takes longer, and no more than that.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from robbench import __version__
from robbench.core.documents import require_regular
from robbench.core.errors import RobbenchError, UserError
from robbench.core.files import atomic_write
from robbench.store.locations import Location
from robbench.store.row import RUN_ID, in_threads, only_row, run_row
from robbench.store.schema import RUNS
from robbench.store.sound import require_sound
from robbench.store.tables import read_table

FEWEST = 50
"""Files of a folder from which on an index is worth its while."""
_SHARE = 0.01  # of the files that are not in the index, from which on it is written anew
_BATCH = 500  # tables of one row take much more memory than one of many rows
_RECENT = 2 * 10**9  # nanoseconds: two changes within them may have equal times

Row: TypeAlias = dict[str, Any]


class _Stamp(NamedTuple):
    """What tells a file from one that had its name before. Times in nanoseconds."""

    size: int
    mtime: int
    ctime: int


_ABOUT = ("file", *(f"file_{name}" for name in _Stamp._fields))
_SCHEMA = pa.schema(
    [pa.field("file", pa.string()), *(pa.field(name, pa.int64()) for name in _ABOUT[1:]), *RUNS],
    {"robbench.table": "index", "robbench.version": __version__},
)
_MADE = _SCHEMA.metadata


def run_rows(
    paths: Sequence[Location], columns: Sequence[str] | None = None
) -> list[Row | UserError]:
    """The row of each runs file, or what is wrong with the file, as `run_row` has both."""
    folders: dict[Location, list[Location]] = {}
    for path in paths:
        folders.setdefault(path.parent, []).append(path)
    found: dict[Location, Row | UserError] = {}
    for folder, files in folders.items():
        if isinstance(folder, Path) and folder.name == "runs" and len(files) >= FEWEST:
            found |= _indexed(folder, {path.name: path for path in files}, columns)
    rest = [path for path in paths if path not in found]
    found |= zip(rest, in_threads(lambda path: _row(path, columns), rest), strict=True)
    return [found[path] for path in paths]


def require_rows(paths: Sequence[Location], columns: Sequence[str] | None = None) -> list[Row]:
    """As `run_rows`. Raises UserError for the first file that something is wrong with."""
    rows = []
    for found in run_rows(paths, columns):
        if isinstance(found, UserError):
            raise found
        rows.append(found)
    return rows


def _row(path: Location, columns: Sequence[str] | None) -> Row | UserError:
    try:
        return run_row(path, columns)
    except UserError as error:
        return error


def _indexed(
    folder: Path, files: dict[str, Location], columns: Sequence[str] | None
) -> dict[Location, Row | UserError]:
    """The rows that the index has; where it lacks many, also those that a new one was made of."""
    index = _load(folder, columns)
    entries = zip(*(index[name].to_pylist() for name in _ABOUT), strict=True)
    rows = index.drop_columns([*_ABOUT]).to_pylist()
    found: dict[Location, Row | UserError] = {
        files[name]: row
        for (name, *stamp), row in zip(entries, rows, strict=True)
        if name in files and _stamp(folder, name) == tuple(stamp)
    }
    lacking = [name for name, path in files.items() if path not in found]
    if len(lacking) >= max(FEWEST, _SHARE * len(files)) and (now := _clock(folder)) is not None:
        read = _entries(folder, lacking)
        _write(folder, read, now)
        wanted = [name for name in RUNS.names if columns is None or name in columns]
        names = read["file"].to_pylist()
        for name, row in zip(names, read.select(wanted).to_pylist(), strict=True):
            found[files[name]] = row
    return found


def _entries(folder: Path, names: Sequence[str]) -> pa.Table:
    """What the index says of files, but for those that something is wrong with."""
    entries = [_SCHEMA.empty_table()]
    for first in range(0, len(names), _BATCH):
        found = in_threads(
            lambda path: _entry(folder, path.name),
            [folder / name for name in names[first : first + _BATCH]],
        )
        read = [entry for entry in found if entry is not None]
        entries.append(pa.concat_tables([entries[0], *read]).combine_chunks())
    return pa.concat_tables(entries)


def _entry(folder: Path, name: str) -> pa.Table | None:
    stamp = _stamp(folder, name)  # before the file is read: a later change shows
    try:
        table = read_table(folder / name, "runs")
        only_row(folder / name, table.to_pylist())
    except UserError:
        return None
    if stamp is None:
        return None
    about = [pa.array([name]), *(pa.array([number], pa.int64()) for number in stamp)]
    return pa.Table.from_arrays([*about, *table.columns], schema=_SCHEMA)


def _write(folder: Path, entries: pa.Table, now: int) -> None:
    """Write the index with these entries and the others it has, as far as their files are there.

    But for files of which a change after `now` might not show in their times.
    """
    latest = pc.max_element_wise(*(entries[name] for name in _ABOUT[2:]))
    fresh = entries.filter(pc.less(latest, now - _RECENT))
    if len(fresh) < FEWEST:
        return
    index = _load(folder)
    there = pa.array([entry.name for entry in os.scandir(folder)], pa.string())
    old = pc.and_not(
        pc.is_in(index["file"], there), pc.is_in(index["file"], fresh["file"].combine_chunks())
    )
    table = pa.concat_tables([index.filter(old), fresh]).replace_schema_metadata(_SCHEMA.metadata)
    with contextlib.suppress(RobbenchError):  # a full disk: the next one tries again
        atomic_write(
            _path(folder),
            lambda temporary: pq.write_table(
                table, temporary, compression="zstd", write_page_checksum=True
            ),
        )


def _load(folder: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Some columns of the index; empty where there is none, or one that is not as it should be."""
    path = _path(folder)
    wanted = [field for field in _SCHEMA if columns is None or field.name in (*_ABOUT, *columns)]
    try:
        require_regular(path)
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            own, rows = file.schema_arrow, file.metadata.num_rows
            made = all((own.metadata or {}).get(key) == _MADE[key] for key in _MADE)
            if not own.equals(_SCHEMA) or not made or rows > path.stat().st_size:
                raise UserError(f"{path} is of another robbench, or of endless equal rows")
            table = file.read([field.name for field in wanted], use_threads=False)
        require_sound(table.drop_columns([*_ABOUT]), "runs", str(path))
        table.validate(full=True)
        if "run_id" in table.column_names:
            odd = pc.invert(pc.match_substring_regex(table["run_id"], rf"\A{RUN_ID.pattern}\z"))
            if pc.any(odd).as_py():
                raise UserError(f"{path} names runs that are none")
    except (pa.ArrowException, OSError, ValueError, MemoryError, UserError):
        return pa.schema(wanted, _SCHEMA.metadata).empty_table()
    return table


def _path(folder: Path) -> Path:
    return folder.with_name(".runs.parquet")


def _stamp(folder: Path, name: str) -> _Stamp | None:
    """None where there is no such file."""
    try:
        facts = os.stat(f"{folder}/{name}")  # noqa: PTH116 - of 10,000 files, each a Path else
    except OSError:
        return None
    return _Stamp(facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


def _clock(folder: Path) -> int | None:
    """The time that the file system gives to files now; None where none may be made."""
    try:
        with tempfile.TemporaryFile(dir=folder.parent) as file:
            return os.fstat(file.fileno()).st_mtime_ns
    except OSError:
        return None
