"""SQL reads the views, and no file of this machine or another's, unless --allow-files."""

from __future__ import annotations

import pytest

pytest.importorskip("duckdb")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM 'secret.csv'",
        "SELECT * FROM read_text('secret.csv')",
        "SELECT * FROM glob('*')",
        "SELECT * FROM read_parquet('S/results/runs/*.parquet')",
        "COPY runs TO 'out.csv'",
        "COPY runs TO '{run}' (USE_TMP_FILE false)",
        "EXPLAIN ANALYZE COPY runs TO 'out.csv'",
        "PREPARE p AS COPY runs TO 'out.csv'; EXECUTE p",
        "EXPORT DATABASE 'out'",
        "ATTACH 'out.db'",
        "SET temp_directory = 'out'",
        "SET log_query_path = 'out'; SELECT 1",
        "PRAGMA enable_profiling='json'; PRAGMA profiling_output='out'; SELECT 1",
        "SET enable_external_access = true; SELECT * FROM 'secret.csv'",
        "LOAD httpfs",
        "SELECT * FROM files",
        "SELECT * FROM paths",
    ],
)
def test_no_file_is_read_or_written(cli, attacked, row_of, snapshot, sql):
    """Whatever DuckDB has to reach one, and variables of this program, which it can read too."""
    folder = attacked.parent
    (folder / "secret.csv").write_text("a\nhidden\n")
    before = snapshot(folder)
    done = cli("query --json --out attacked", sql.format(run=row_of(attacked)), cwd=folder)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done
    assert snapshot(folder) == before


def test_with_leave_it_reads_and_writes(cli, attacked, tmp_path):
    """The error says how, and with the flag it goes."""
    (tmp_path / "mine.csv").write_text("model,year\nmlp:width=4,2026\n")
    sql = "SELECT year FROM runs JOIN 'mine.csv' USING (model)"
    assert "give --allow-files" in cli("query --json --out", attacked, sql, cwd=tmp_path).err
    assert cli("query --json --allow-files --out", attacked, sql, cwd=tmp_path).json["rows"] == [
        {"year": 2026}
    ]
    assert (
        cli("query --allow-files --out", attacked, "COPY runs TO 'out.csv'", cwd=tmp_path).code == 0
    )
    assert (tmp_path / "out.csv").exists()
