"""`robbench query`: SQL over all that is there."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robbench.store.run import Run

Stored = Callable[..., Run]
Cli = Callable[..., Any]


class TestQuery:
    """SQL over the store."""

    @pytest.fixture(autouse=True)
    def _duckdb(self) -> None:
        pytest.importorskip("duckdb")

    def test_views_join(self, cli: Cli, two: Path) -> None:
        """The paired counts of `compare`, asked in SQL."""
        sql = """SELECT count(*) FILTER (b.robust AND NOT a.robust) AS won,
                count(*) FILTER (a.robust AND NOT b.robust) AS lost
            FROM samples a JOIN samples b USING (sample_id) JOIN runs r ON r.run_id = a.run_id
            WHERE r.model = 'ce' AND b.run_id = 'bbbb22222222'"""
        done = cli("query --json --out", two, sql)
        row = cli("compare ce at --json --out", two).json["rows"][1]
        assert done.json["rows"] == [{"won": row["won"], "lost": row["lost"]}]
        assert done.json["schema"] == "robbench.query/1"

    def test_every_table_is_a_view(self, cli: Cli, two: Path) -> None:
        """Epochs of all models, tables this version does not know, and points though none exist."""
        folder = two / "results" / "checks"
        folder.mkdir()
        pq.write_table(pa.table({"verdict": ["fail", "pass"]}), folder / "bbbb22222222.parquet")
        for name, count in (
            ("runs", 2),
            ("samples", 200),
            ("epochs", 2),
            ("points", 0),
            ("checks", 2),
        ):
            assert cli("query --json --out", two, f"SELECT count(*) AS n FROM {name}").json[
                "rows"
            ] == [{"n": count}]
        assert cli("query --json --out", two, "SELECT run_id FROM points").json == {
            "schema": "robbench.query/1",
            "columns": ["run_id"],
            "rows": [],
        }

    def test_a_column_that_an_older_file_lacks_is_null(self, cli: Cli, two: Path) -> None:
        """Files of several ages are one view."""
        file = two / "results/runs/aaaa11111111.parquet"
        pq.write_table(pq.read_table(file).drop_columns(["flags"]), file)
        done = cli(
            "query --json --out",
            two,
            "SELECT model, flags IS NULL AS missing FROM runs ORDER BY model",
        )
        assert done.json["rows"] == [
            {"model": "at", "missing": False},
            {"model": "ce", "missing": True},
        ]

    def test_forms(self, cli: Cli, two: Path, tmp_path: Path) -> None:
        """Table, CSV and Parquet have the rows of --json; wide answers fit in 80 columns."""
        sql = "SELECT model, n_samples, robust_accuracy FROM runs ORDER BY model"
        rows = cli("query --json --out", two, sql).json["rows"]
        assert [
            line["model"]
            for line in csv.DictReader(io.StringIO(cli("query --csv --out", two, sql).out))
        ] == ["at", "ce"]
        assert cli("query --csv --out", two, "SELECT run_id FROM points").out == "run_id\n"
        cli("query --out", two, sql, "--parquet", tmp_path / "answer.parquet")
        assert pq.read_table(tmp_path / "answer.parquet").to_pylist() == rows
        assert [line.split()[0] for line in cli("query --out", two, sql).out.splitlines()[2:]] == [
            "at",
            "ce",
        ]
        wide = cli("query --out", two, "SELECT * FROM runs").out.splitlines()
        assert max(map(len, wide)) <= 80
        assert sum(line.startswith("robust_accuracy_low") for line in wide) == 2

    @pytest.mark.parametrize("form", ["--json", "--csv", "--parquet"])
    def test_columns_of_one_name(self, cli: Cli, two: Path, tmp_path: Path, form: str) -> None:
        """The table shows both; what has its columns by name would lose one, so it is refused."""
        sql = """SELECT a.robust_accuracy, b.robust_accuracy{} FROM runs a JOIN runs b
            ON a.model = 'at' AND b.model = 'ce'"""
        file = tmp_path / "answer"
        flags = [form, file] if form == "--parquet" else [form]
        done = cli("query --out", two, sql.format(""), *flags)
        assert (done.code, done.out, file.exists()) == (2, "", False)
        assert done.err == (
            "error: 2 columns of the answer are called robust_accuracy: rename them with AS\n"
        )
        assert cli("query --out", two, sql.format(" AS other"), *flags).code == 0
        assert cli("query --out", two, sql.format("")).out.count("robust_accuracy") == 2

    @pytest.mark.parametrize(
        ("sql", "message"),
        [
            ("SELECT nothing FROM runs", "nothing"),
            ("SELECT * FROM run", "the views are epochs, points, runs, samples"),
            ("SELEKT", "DESCRIBE runs"),
        ],
    )
    def test_sql_that_fails(self, cli: Cli, two: Path, sql: str, message: str) -> None:
        """One line with what DuckDB says, the views, and how to see columns."""
        done = cli("query --out", two, sql)
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
        assert message in done.err

    def test_nothing_is_written(self, cli: Cli, two: Path, snapshot: Callable[[Path], Any]) -> None:
        """A query through the views leaves the store as it was, whatever it is."""
        before = snapshot(two)
        assert cli("query --out", two, "DROP VIEW samples").code == 0
        assert cli("query --out", two, "DELETE FROM runs").code == 2
        assert cli("query --out", two, "CREATE TABLE mine AS SELECT * FROM runs").code == 0
        assert cli("query --json --out", two, "SET threads = 1").json["rows"] == []
        assert snapshot(two) == before

    def test_damaged_newer_and_absent(self, cli: Cli, two: Path) -> None:
        """A truncated file, a newer schema, an empty folder: exit 2, the file, the next step.

        Other views can be asked.
        """
        assert "give the folder" in cli("query --out", two / "none", "SELECT 1").err
        file = two / "results/samples/aaaa11111111.parquet"
        table, whole = pq.read_table(file), file.read_bytes()
        file.write_bytes(whole[:100])
        damaged = cli("query --out", two, "SELECT * FROM Samples")
        assert cli("query --out", two, "SELECT count(*) FROM runs").code == 0
        file.write_bytes(b"something else")
        foreign = cli("query --out", two, "SELECT * FROM samples")
        pq.write_table(
            table.replace_schema_metadata(
                {**table.schema.metadata, b"robbench.schema_version": b"9"}
            ),
            file,
        )
        newer = cli("query --out", two, "SELECT * FROM samples")
        for done, message in (
            (damaged, "aaaa11111111.parquet is damaged"),
            (foreign, "put a whole copy in its place"),
            (newer, "upgrade robbench"),
        ):
            assert (done.code, done.out) == (2, "")
            assert message in done.err

    def test_an_address(self, cli: Cli, two: Path) -> None:
        """DuckDB reads through fsspec."""
        fsspec.filesystem("memory").put(str(two / "results"), "/asked/results", recursive=True)
        try:
            done = cli("query --json", "SELECT count(*) AS n FROM samples", "memory://asked")
            assert done.json["rows"] == [{"n": 200}]
        finally:
            fsspec.filesystem("memory").rm("/asked", recursive=True)


def test_without_duckdb_one_line_says_how_to_get_it(
    cli: Cli, two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extra is named, exit 2."""
    monkeypatch.setitem(sys.modules, "duckdb", None)
    done = cli("query --out", two, "SELECT 1")
    assert (done.code, done.out) == (2, "")
    assert done.err == "error: robbench query needs DuckDB: pip install 'robbench[sql]'\n"
