"""Parquet tables that say what they are, whole or absent.

Each Parquet file carries robbench.table, robbench.schema_version and robbench.run as key-value metadata; reading checks
them, so that a foreign, newer, truncated or damaged file is one clear line and never a wrong number.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from robbench.core.errors import UserError
from robbench.core.files import atomic_write
from robbench.results.places import Place, Remote
from robbench.results.schema import (
    CHECKS,
    EPOCHS,
    MEASURES,
    POINTS,
    RUNS,
    SAMPLE_MEASURES,
    SAMPLES,
    SCHEMA_VERSION,
    missing_columns,
)

_SCHEMAS = {"runs": RUNS, "samples": SAMPLES, "points": POINTS, "checks": CHECKS, "epochs": EPOCHS, "measures": MEASURES,
            "sample_measures": SAMPLE_MEASURES}  # fmt: skip


def write_table(path: Path, table: pa.Table, run: str) -> None:
    """Write one of our tables atomically; `run` is the run id, or the model's name for epochs."""
    table = table.replace_schema_metadata({**table.schema.metadata, b"robbench.run": run.encode()})
    atomic_write(path, lambda temporary: pq.write_table(table, temporary, compression="zstd", write_page_checksum=True))


def table_kind(path: Place) -> tuple[str, str]:
    """Which table a Parquet file holds (`runs`, `samples`, ...) and of which run or model.

    Raises UserError, naming the file, when it is missing, damaged, not ours, or of a newer schema.
    """
    with _open(path) as file:
        return _identify(path, file)


def read_columns(path: Place, names: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of a Parquet table of whatever kind, of these columns those that it has. Raises UserError as `check_readable`."""
    check_readable(path)
    with _open(path) as file:
        try:
            rows: list[dict[str, Any]] = file.read([name for name in names if name in file.schema_arrow.names]).to_pylist()
        except (pa.ArrowException, OSError, ValueError) as error:
            raise _broken(path, error) from None
    return rows


def check_readable(path: Place) -> pa.Schema:
    """The schema of a Parquet file of whatever table. UserError when it is missing, damaged at its end, or of a newer schema."""
    with _open(path) as file:
        version = (file.schema_arrow.metadata or {}).get(b"robbench.schema_version", b"0")
        _refuse_newer(path, int(version) if version.isdigit() else 0)
        return file.schema_arrow


def number_of_rows(path: Place) -> int:
    """How many rows a Parquet file holds, of whatever table. Raises UserError when it is missing or damaged."""
    with _open(path) as file:
        return int(file.metadata.num_rows)


def read_table(path: Place, kind: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read (some columns of) a table of that kind; columns that an older file lacks are null.

    The schema's metadata say what the file said: robbench.run, robbench.schema_version, and in robbench.absent the columns
    asked for that it lacks, separated by commas.
    Raises UserError, naming the file, as `table_kind` does, or when the file holds another table.
    """
    schema = _SCHEMAS[kind]
    with _open(path) as file:
        found, run = _identify(path, file)
        if found != kind:
            raise UserError(f"{path} holds {found}, not {kind}; name the file in results/{kind}")
        present = set(file.schema_arrow.names)
        if missing := missing_columns(schema, present):
            lacking = f"{path} lacks the columns {', '.join(missing)}"
            raise UserError(f"{lacking}: it is not a robbench {kind} table; delete it and attack again")
        wanted = [field for field in schema if columns is None or field.name in columns]
        try:
            table = file.read([field.name for field in wanted if field.name in present])
            arrays = [table[f.name].cast(f.type) if f.name in present else pa.nulls(len(table), f.type) for f in wanted]
        except (pa.ArrowException, OSError, ValueError) as error:
            raise _broken(path, error) from None
        absent = [field.name for field in wanted if field.name not in present]
        facts = {b"robbench.run": run.encode(), b"robbench.absent": ",".join(absent).encode()}
        facts[b"robbench.schema_version"] = file.schema_arrow.metadata[b"robbench.schema_version"]
        return pa.Table.from_arrays(arrays, schema=pa.schema(wanted, {**schema.metadata, **facts}))


def read_beside(path: Path, kind: str, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Some columns of a table that may lie beside a run, as rows; none when there is no such file.

    Raises UserError, naming the file, when it is damaged, holds another table or lacks a column.
    """
    if not path.exists():
        return []
    with _open(path) as file:
        if (found := (file.schema_arrow.metadata or {}).get(b"robbench.table", b"").decode(errors="replace")) != kind:
            raise UserError(f"{path} holds {found or 'a foreign table'}, not {kind}")
        if missing := [name for name in columns if name not in file.schema_arrow.names]:
            raise UserError(f"{path} lacks the columns {', '.join(missing)}: it is not a robbench {kind} table")
        try:
            return list(file.read(list(columns)).to_pylist())
        except (pa.ArrowException, OSError, ValueError) as error:
            raise _broken(path, error) from None


@contextlib.contextmanager
def _open(path: Place) -> Iterator[pq.ParquetFile]:
    try:
        source = path.open() if isinstance(path, Remote) else path
        file = pq.ParquetFile(source, page_checksum_verification=True)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; robbench runs shows what is there") from None
    except PermissionError:
        raise UserError(f"{path} may not be read: check its permissions, or the credentials") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _broken(path, error) from None
    with file:
        yield file


def _identify(path: Place, file: pq.ParquetFile) -> tuple[str, str]:
    facts = file.schema_arrow.metadata or {}
    kind = facts.get(b"robbench.table", b"").decode(errors="replace")
    version = facts.get(b"robbench.schema_version", b"").decode(errors="replace")
    if kind not in _SCHEMAS or not version.isdecimal():
        raise UserError(f"{path} was not written by robbench; name the files of a run, or the folder they lie in")
    _refuse_newer(path, int(version))
    return kind, facts.get(b"robbench.run", b"").decode(errors="replace")


def _refuse_newer(path: Place, version: int) -> None:
    if version > SCHEMA_VERSION:
        raise UserError(f"{path} has schema version {version}, this robbench reads up to {SCHEMA_VERSION}: upgrade robbench")


def _broken(path: Place, error: Exception) -> UserError:
    reason = " ".join(str(error).split())
    return UserError(f"{path} is damaged or not a Parquet file ({reason}); delete it and attack again")
