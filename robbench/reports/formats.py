"""A comparison as JSON, CSV, Parquet and Markdown."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from robbench.core.escaping import csv_cell, markdown
from robbench.core.files import write_output
from robbench.core.spec import finite
from robbench.reports import columns
from robbench.reports.columns import Column
from robbench.reports.footnotes import footnotes


def to_json(rows: Sequence[Mapping[str, Any]], **more: Any) -> str:
    """One JSON object {"schema": "robbench.compare/1", "rows": [...]} and `more`.

    What is not a finite number is null.
    """
    return json.dumps(
        finite({"schema": "robbench.compare/1", "rows": list(rows), **more}),
        indent=2,
        allow_nan=False,
    )


def to_csv(rows: Sequence[Mapping[str, Any]], names: Sequence[str] = ()) -> str:
    """All values as CSV with a header line.

    Null and what is not a finite number are empty, lists are JSON.

    A text that a spreadsheet would take for a formula has an apostrophe in front.
    `names` are the columns, if there may be no row.
    """
    text = io.StringIO()
    names = names or (list(rows[0]) if rows else [])
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(csv_cell, names))
    for row in rows:
        flat = _flat(finite(dict(row)))
        writer.writerow(csv_cell(flat[name]) for name in names)
    return text.getvalue()


def to_parquet(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """All values as a Parquet file, one row each, lists as JSON.

    Raises RunError when it cannot be written.
    """
    table = pa.Table.from_pylist([_flat(row) for row in rows])
    # A column without any value has no type of its own: it may be of numbers or of
    # texts.
    empty = [i for i, field in enumerate(table.schema) if pa.types.is_null(field.type)]
    for i in empty:
        table = table.set_column(i, table.schema.field(i).name, table.column(i).cast(pa.string()))
    write_parquet(table, path)


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write a table to a user's path. Raises as `write_output` does."""
    write_output(path, lambda temporary: pq.write_table(table, temporary, compression="zstd"))


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: json.dumps(value) if isinstance(value, list) else value for name, value in row.items()
    }


def to_markdown(rows: Sequence[Mapping[str, Any]], names: Sequence[str] | None = None) -> str:
    """A Markdown table for a pull request or an issue, with these columns or the usual ones.

    The best in bold, and what to know below.
    """
    return markdown_table(*columns.shown(rows, names, columns.WITH_FACTS), footnotes(rows))


def markdown_table(
    rows: Sequence[Mapping[str, Any]], shown: Sequence[Column], notes: Sequence[str]
) -> str:
    """As `to_markdown`, of any columns."""
    lines = [
        [markdown(each.head) for each in shown],
        ["---:" if each.right else "---" for each in shown],
    ]
    lines += [
        [_bold(markdown(str(each.text(row))), each.bold(row), "**{}**") for each in shown]
        for row in rows
    ]
    table = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([*table, "", "\n\n".join(map(markdown, notes)), ""])


def _bold(cell: str, best: bool, form: str) -> str:
    return form.format(cell) if best else cell
