"""How the columns of a table are written: a line for each type, with the names that have it."""

from __future__ import annotations

import pyarrow as pa

_SHORT = {
    "bool": pa.bool_(),
    "int8": pa.int8(),
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "f32": pa.float32(),
    "f64": pa.float64(),
    "text": pa.string(),
    "bytes": pa.binary(),
    "time": pa.timestamp("us"),  # naive, UTC
    "ids": pa.list_(pa.field("element", pa.int64())),
    "word": pa.dictionary(pa.int16(), pa.string()),  # few different texts in many rows
}


def table_schema(table: str, columns: str, version: int) -> pa.Schema:
    """The schema of a table from lines `type: name name? ...`; a question mark allows nulls."""
    fields = []
    for line in columns.strip().splitlines():
        kind, _, names = line.partition(":")
        fields += [
            pa.field(name.rstrip("?"), _SHORT[kind.strip()], name.endswith("?"))
            for name in names.split()
        ]
    return pa.schema(fields, {"robbench.table": table, "robbench.schema_version": str(version)})
