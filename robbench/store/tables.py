"""Parquet tables that say what they are, whole or absent.

Each Parquet file carries robbench.table, robbench.schema_version and robbench.run as key-value
metadata; reading checks them, so that a foreign, newer, truncated or damaged file is one clear line
and never a wrong number.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from robbench.core.documents import require_regular
from robbench.core.errors import UserError
from robbench.core.files import atomic_write
from robbench.store.locations import Location, Remote
from robbench.store.schema import (
    CERTIFICATES,
    CHECKS,
    EPOCHS,
    MEASURES,
    POINTS,
    RUNS,
    SAMPLE_MEASURES,
    SAMPLES,
    SCHEMA_VERSION,
    TASKS,
    missing_columns,
)
from robbench.store.sound import require_sound, same_kind
from robbench.store.upgrade import former_columns, made_columns, upgrade

_SCHEMAS = {
    "runs": RUNS,
    "samples": SAMPLES,
    "points": POINTS,
    "checks": CHECKS,
    "certificates": CERTIFICATES,
    "epochs": EPOCHS,
    "measures": MEASURES,
    "sample_measures": SAMPLE_MEASURES,
    "tasks": TASKS,
}


def write_table(path: Path, table: pa.Table, run: str) -> None:
    """Write one of our tables atomically; `run` is the run id, or the model's name for epochs."""
    table = table.replace_schema_metadata({**table.schema.metadata, b"robbench.run": run.encode()})
    atomic_write(
        path,
        lambda temporary: pq.write_table(
            table, temporary, compression="zstd", write_page_checksum=True
        ),
    )


def write_batches(path: Path, schema: pa.Schema, tables: Iterable[pa.Table], run: str) -> None:
    """As `write_table`, of a table in parts: each is written before the next is asked for."""
    schema = schema.with_metadata({**(schema.metadata or {}), b"robbench.run": run.encode()})

    def write(temporary: Path) -> None:
        with pq.ParquetWriter(
            temporary, schema, compression="zstd", write_page_checksum=True
        ) as file:
            for table in tables:
                file.write_table(table.replace_schema_metadata(schema.metadata))

    atomic_write(path, write)


def table_kind(path: Location) -> tuple[str, str]:
    """Which table a Parquet file holds (`runs`, `samples`, ...) and of which run or model.

    Raises UserError, naming the file, when it is missing, damaged, not ours, or of a newer schema.
    """
    with _open(path) as file:
        return _identify(path, file.schema_arrow)


def check_readable(path: Location) -> pa.Schema:
    """The schema of a Parquet file of whatever table.

    UserError when it is missing, damaged at its end, or of a newer schema.
    """
    with _open(path) as file:
        schema = file.schema_arrow
        _refuse_newer(path, (schema.metadata or {}).get(b"robbench.schema_version", b"0"))
        return schema


def number_of_rows(path: Location) -> int:
    """How many rows a Parquet file holds, of whatever table.

    Raises UserError when it is missing or damaged.
    """
    with _open(path) as file:
        return int(file.metadata.num_rows)


def number_of_groups(path: Location) -> int:
    """In how many parts a Parquet file was written.

    Raises UserError when it is missing or damaged.
    """
    with _open(path) as file:
        return int(file.num_row_groups)


def read_table(
    path: Location, kind: str, columns: Sequence[str] | None = None, group: int | None = None
) -> pa.Table:
    """Read (some columns of) a table of that kind, or only the part number `group`.

    Columns that an older file lacks are null.

    The schema's metadata say what the file said: robbench.run, robbench.schema_version, and in
    robbench.absent the columns asked for that it lacks, separated by commas. Raises UserError,
    naming the file, as `table_kind` does, or when the file holds another table.
    """
    schema = _SCHEMAS[kind]
    with _open(path) as file:
        own = file.schema_arrow  # made anew at each look
        found, run = _identify(path, own)
        if found != kind:
            raise UserError(f"{path} holds {found}, not {kind}; name the file in results/{kind}")
        present = {*own.names, *made_columns(kind, own.names)}
        if missing := missing_columns(schema, present):
            lacking = f"{path} lacks the columns {', '.join(missing)}"
            raise UserError(f"{lacking}: it is not a complete robbench {kind} table; {_INSTEAD}")
        wanted = [field for field in schema if columns is None or field.name in columns]
        arrays = _read(path, file, own, kind, wanted, group)
        absent = [field.name for field in wanted if field.name not in present]
        facts = {b"robbench.run": run.encode(), b"robbench.absent": ",".join(absent).encode()}
        facts[b"robbench.schema_version"] = own.metadata[b"robbench.schema_version"]
        return pa.Table.from_arrays(arrays, schema=pa.schema(wanted, {**schema.metadata, **facts}))


def read_sibling(path: Location, kind: str, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Some columns of a table beside a run, as rows; none when it does not exist.

    Raises UserError, naming the file, when it is damaged, holds another table or lacks a column.
    """
    if not path.exists():
        return []
    with _open(path) as file:
        own = file.schema_arrow
        if (
            found := (own.metadata or {}).get(b"robbench.table", b"").decode(errors="replace")
        ) != kind:
            raise UserError(f"{path} holds {found or 'a foreign table'}, not {kind}")
        if missing := [name for name in columns if name not in own.names]:
            raise UserError(
                f"{path} lacks the columns {', '.join(missing)}: it is not a robbench {kind} table"
            )
        fields = [field for field in _SCHEMAS[kind] if field.name in columns]
        return list(
            pa.Table.from_arrays(
                _read(path, file, own, kind, fields), schema=pa.schema(fields)
            ).to_pylist()
        )


def _read(
    path: Location,
    file: pq.ParquetFile,
    own: pa.Schema,
    kind: str,
    wanted: Sequence[pa.Field],
    group: int | None = None,
) -> list[pa.ChunkedArray]:
    """The columns in their schema's types, null where the file, of the schema `own`, lacks them.

    Raises UserError for values that cannot be right.
    """
    types = {field.name: field.type for field in own}
    for field in wanted:
        if (found := types.get(field.name)) not in (None, field.type) and not same_kind(
            found, field.type
        ):
            raise UserError(
                f"{path}: column {field.name} holds {found}, not {field.type}; {_INSTEAD}"
            )
    try:
        names = [field.name for field in wanted if field.name in types]
        names += former_columns(kind, [field.name for field in wanted], types)
        # Our files are small: handing their columns to threads costs more than reading them.
        part = {"columns": names, "use_threads": False}
        table = file.read(**part) if group is None else file.read_row_group(group, **part)
        version = int((own.metadata or {}).get(b"robbench.schema_version", b"0"))
        table = upgrade(table, version, str(path)) if version < SCHEMA_VERSION else table
        columns = dict(zip(table.column_names, table.columns, strict=True))
        arrays = [_column(columns.get(field.name), field.type, len(table)) for field in wanted]
    except (
        pa.ArrowException,
        OSError,
        ValueError,
        MemoryError,
    ) as error:  # the last from sizes that are no sizes
        raise _broken(path, error) from None
    require_sound(pa.Table.from_arrays(arrays, schema=pa.schema(wanted)), kind, str(path))
    return arrays


def _column(found: pa.ChunkedArray | None, wanted: pa.DataType, rows: int) -> pa.ChunkedArray:
    if found is None:
        return pa.chunked_array([pa.nulls(rows, wanted)])
    return found if found.type == wanted else found.cast(wanted)


@contextlib.contextmanager
def _open(path: Location) -> Iterator[pq.ParquetFile]:
    try:
        if isinstance(path, Path):
            require_regular(path)
            _require_magic(path)
        source = path.open() if isinstance(path, Remote) else path
        file = pq.ParquetFile(source, page_checksum_verification=True)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; robbench runs shows what is there") from None
    except PermissionError:
        raise UserError(
            f"{path} may not be read: check its permissions, or the credentials"
        ) from None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _broken(path, error) from None
    with file:
        # Runs of equal values take next to no room; every row of ours has something of its own.
        if isinstance(path, Path) and file.metadata.num_rows > path.stat().st_size:
            raise UserError(
                f"{path} claims {file.metadata.num_rows:,} rows, more than it has bytes; {_INSTEAD}"
            )
        yield file


def _require_magic(path: Path) -> None:
    """Raise UserError for a file that is not Parquet, rather than a damaged file of ours."""
    with path.open("rb") as file:
        start = file.read(4)
    if start and start != b"PAR1" and path.absolute().parent.parent.name != "results":
        raise UserError(
            f"{path} is not a Parquet file; name a model, a run id, or the file of a run in "
            "results/runs"
        )


def _identify(path: Location, schema: pa.Schema) -> tuple[str, str]:
    facts = schema.metadata or {}
    kind = facts.get(b"robbench.table", b"").decode(errors="replace")
    version = facts.get(b"robbench.schema_version", b"")
    if kind not in _SCHEMAS or not version.isdigit():
        raise UserError(
            f"{path} was not written by robbench; name the files of a run, or the folder they are "
            "in"
        )
    _refuse_newer(path, version)
    return kind, facts.get(b"robbench.run", b"").decode(errors="replace")


def _refuse_newer(path: Location, version: bytes) -> None:
    if version.isdigit() and (len(version) > 9 or int(version) > SCHEMA_VERSION):
        named = version[:9].decode()
        raise UserError(
            f"{path} has schema version {named}, this robbench reads up to {SCHEMA_VERSION}: "
            "upgrade robbench"
        )


_INSTEAD = "put a whole copy in its place, or move it away and run again what wrote it"


def _broken(path: Location, error: Exception) -> UserError:
    reason = " ".join(str(error).split())
    return UserError(f"{path} is damaged or not a Parquet file ({reason}); {_INSTEAD}")
