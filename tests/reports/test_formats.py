"""A comparison for machines and for Markdown: other readers get the same values back."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from robbench.reports.columns import Column
from robbench.reports.formats import markdown_table, to_csv, to_json, to_parquet

ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "model": st.text(max_size=8),
            "eps": st.none() | st.floats(),
            "n": st.integers(-(2**50), 2**50),
            "tags": st.lists(st.text(max_size=4), max_size=3),
        }
    ),
    max_size=5,
)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


@given(ROWS)
def test_json_is_one_object_without_nan(rows: list[dict[str, Any]]) -> None:
    """Strict JSON: what is no finite number is null."""

    def refuse(name: str) -> None:
        raise AssertionError(name)

    found = json.loads(to_json(rows, first="x"), parse_constant=refuse)
    assert found["schema"] == "robbench.compare/1"
    assert found["first"] == "x"
    assert found["rows"] == [{k: _finite(v) for k, v in row.items()} for row in rows]


@given(ROWS)
def test_csv_has_a_line_for_each_row(rows: list[dict[str, Any]]) -> None:
    """Numbers come back bit for bit, lists as JSON, null as nothing; names alone are a head."""
    names = ["model", "eps", "n", "tags"]
    found = list(csv.DictReader(io.StringIO(to_csv(rows, names), newline="")))
    assert len(found) == len(rows)
    for row, read in zip(rows, found, strict=True):
        assert (float(read["eps"]) if read["eps"] else None) == _finite(row["eps"])
        assert int(read["n"]) == row["n"]
        tags = read["tags"].removeprefix("'")
        assert json.loads(tags) == row["tags"]
    assert to_csv([], names) == "model,eps,n,tags\n"


def test_csv_is_what_pandas_reads() -> None:
    rows = [{"model": "a,b", "eps": 0.1, "n": 1}, {"model": 'say "no"', "eps": None, "n": 2}]
    found = pd.read_csv(io.StringIO(to_csv(rows)))
    assert found["model"].tolist() == ["a,b", 'say "no"']
    assert found["n"].tolist() == [1, 2]
    assert found["eps"].isna().tolist() == [False, True]


def test_parquet_keeps_values_and_types(tmp_path: Path) -> None:
    """Also inf and NaN; a column without a value is text, so that any reader takes it."""
    rows = [
        {"model": "a", "eps": math.inf, "n": 1, "tags": ["x"], "none": None},
        {"model": "b", "eps": math.nan, "n": None, "tags": [], "none": None},
    ]
    to_parquet(rows, tmp_path / "x.parquet")
    found = pq.read_table(tmp_path / "x.parquet")
    assert [str(kind) for kind in found.schema.types] == [
        "string",
        "double",
        "int64",
        "string",
        "string",
    ]
    read = found.to_pylist()
    assert read[0] == rows[0] | {"tags": '["x"]'}
    assert math.isnan(read[1]["eps"])
    assert (read[1]["n"], read[1]["tags"], read[1]["none"]) == (None, "[]", None)


@given(st.lists(st.tuples(st.text("a|*\n_", max_size=6), st.booleans()), min_size=1, max_size=4))
def test_markdown_has_as_many_cells_in_each_line(cells: list[tuple[str, bool]]) -> None:
    """Whatever a name has in it; the best in bold."""
    shown = [
        Column("the|name", "n", lambda row: row["name"], ("name",), False, lambda row: row["best"]),
        Column("x", "x", lambda row: "1", ("x",), bold=lambda row: False),
    ]
    rows = [{"name": name, "best": best} for name, best in cells]
    lines = markdown_table(rows, shown, ["note | one"]).split("\n")
    assert lines[1] == "| --- | ---: |"
    for line in lines[: 2 + len(rows)]:
        assert line.replace("\\\\", "").replace("\\|", "").count("|") == 3
    bold = [line.startswith("| **") for line in lines[2 : 2 + len(rows)]]
    assert bold == [best for _, best in cells]
    assert lines[-2] == r"note \| one"
