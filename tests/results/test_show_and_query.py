"""`robbench show`, `runs` and `query`: one run, what there is, and SQL over all of it."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robbench.results.schema import EPOCHS
from robbench.results.store import Run, Store, write_epochs

Stored = Callable[..., Run]
Cli = Callable[..., Any]


@pytest.fixture
def two(tmp_path: Path, stored: Stored, make_samples: Callable[..., Any]) -> Path:
    """Runs of ce and at, 100 samples each; epochs of ce; a model without a run; a run that was stopped."""
    argv = json.dumps({"argv": ["/bin/robbench", "attack", "at", "--attack", "my attack"]})
    flags = json.dumps([{"name": "vanishing-gradients", "text": "gradients are zero on 9 of 100 samples"}])
    stored("aaaa11111111", make_samples(100, 1, 0.7), attack_params='["pgd:a"]')
    stored("bbbb22222222", make_samples(100, 2, 0.3), model="at", age=60, provenance=argv, flags=flags, attack_params='["pgd:a"]')
    for model in ("ce", "untouched"):
        (tmp_path / "models" / model).mkdir(parents=True)
        (tmp_path / "models" / model / "config.json").write_text('{"schema": "robbench.model/1", "status": "done"}')
    epoch: dict[str, Any] = {field.name: 0 for field in EPOCHS if not field.nullable}
    write_epochs(
        tmp_path / "models" / "ce" / "epochs.parquet", [epoch | {"model": "ce", "epoch": e, "selected": False} for e in (1, 2)]
    )
    Store(tmp_path).partial("cccc33333333").append(make_samples(17))
    return tmp_path


class TestShow:
    """One run on one screen."""

    def test_the_numbers_are_those_of_the_rows(self, cli: Cli, two: Path) -> None:
        """Counts by attack and class, medians of steps and sizes, recomputed here in plain Python."""
        found = cli("show bbbb --json --out", two).json
        rows = pq.read_table(two / "results/samples/bbbb22222222.parquet").to_pylist()
        by = [row for row in rows if row["broken_by"] == "pgd:steps=10"]
        assert found["fell_to"] == [{"attack": "pgd:steps=10", "n": len(by), "step": 5.0}]
        assert found["classes"] == [
            {
                "label": 3,
                "n": 100,
                "clean_accuracy": sum(row["clean_correct"] for row in rows) / 100,
                "robust_accuracy": sum(row["robust"] for row in rows) / 100,
            }
        ]
        assert found["distances"] == {"linf": float(np.median([row["dist_linf"] for row in by]))}
        assert found["summary"]["n_adversarial"] == sum(row["adversarial"] for row in rows)
        assert found["command"] == "robbench attack at --attack 'my attack'"

    def test_the_screen(self, cli: Cli, two: Path) -> None:
        """At most 80 columns and 40 lines, with what matters: attack in full, rates, flags, the command, the files."""
        done = cli("show at --out", two)
        assert done.code == 0
        assert max(map(len, done.out.splitlines())) <= 80
        assert len(done.out.splitlines()) <= 40
        text = " ".join(done.out.split())
        summary = cli("show at --json --out", two).json["summary"]
        for piece in (
            "at under linf:0.15",
            "pgd:a",
            f"{100 * summary['robust_accuracy']:.1f}%",
            "vanishing-gradients: gradients",
        ):
            assert piece in text
        assert "robbench attack at --attack 'my attack'" in text

    def test_other_tables_of_the_run_are_named(self, cli: Cli, two: Path) -> None:
        """Whatever else lies in the store for this run is counted, also a table this version does not know."""
        folder = two / "results" / "later"
        folder.mkdir()
        pq.write_table(pa.table({"run_id": ["bbbb22222222"] * 3}), folder / "bbbb22222222.parquet")
        assert cli("show at --json --out", two).json["tables"] == {"later": 3}
        assert "later (3 rows)" in cli("show at --out", two).out

    def test_what_checks_and_measures_say_is_shown(self, cli: Cli, two: Path) -> None:
        """A check that failed in full, the others counted; measures over all classes with their values."""
        for kind, columns in (
            (
                "checks",
                {
                    "check": ["eps", "steps"],
                    "severity": ["high", "low"],
                    "verdict": ["fail", "pass"],
                    "text": ["larger helps", "-"],
                },
            ),
            (
                "measures",
                {
                    "name": ["rank", "rank"],
                    "points": ["clean"] * 2,
                    "split": ["test"] * 2,
                    "class": [None, 1],
                    "value": [7.25, 3.0],
                },
            ),
        ):
            (two / "results" / kind).mkdir()
            table = pa.table(columns, metadata={"robbench.table": kind})
            pq.write_table(table, two / "results" / kind / "bbbb22222222.parquet")
        text = " ".join(cli("show at --out", two).out.split())
        for piece in ("1 pass, 1 fail eps: larger helps", "rank (clean) 7.25; 2 in all"):
            assert piece in text
        tables = cli("show at --json --out", two).json["tables"]
        assert tables["checks"][0]["verdict"] == "fail"
        assert len(tables["measures"]) == 2

    def test_a_model_with_two_runs_is_a_choice(self, cli: Cli, two: Path, stored: Stored) -> None:
        """Exit 2 lists the runs with threat and attack, and the command for one."""
        stored("dddd44444444", age=100, attack="fgsm")
        done = cli("show ce --out", two)
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
        assert (
            "'ce' means 2 runs: aaaa11111111 (linf:0.15, pgd:steps=10, 100 samples); dddd44444444 (linf:0.15, fgsm, 20 samples)"
            in done.err
        )
        assert "robbench show dddd44444444" in done.err

    def test_runs_alike_are_told_apart_by_their_settings(self, cli: Cli, two: Path, stored: Stored) -> None:
        """The choice and the list say which of two runs under one attack is in bfloat16."""
        stored("dddd44444444", age=100, precision="bf16", attack_params='["pgd:a"]')
        said = cli("show ce --out", two).err
        assert "aaaa11111111 (linf:0.15, pgd:steps=10, 100 samples, fp32)" in said
        assert "dddd44444444 (linf:0.15, pgd:steps=10, 20 samples, bf16)" in said
        listed = [line.split()[:3] for line in cli("runs", two).out.splitlines()]
        assert ["aaaa11111111", "ce", "(fp32)"] in listed
        assert ["dddd44444444", "ce", "(bf16)"] in listed

    def test_a_run_at_an_address(self, cli: Cli, two: Path) -> None:
        """Show reads other file systems, too."""
        fsspec.filesystem("memory").put(str(two / "results"), "/shown/results", recursive=True)
        try:
            far = cli("show memory://shown/results/runs/bbbb22222222.parquet --json --out", two / "none").json
            here = cli("show at --json --out", two).json
            assert {**far, "files": 0} == {**here, "files": 0}
            assert all(file.startswith("memory://") for file in far["files"])
        finally:
            fsspec.filesystem("memory").rm("/shown", recursive=True)


class TestRuns:
    """What is there."""

    def test_everything_is_listed(self, cli: Cli, two: Path) -> None:
        """Finished runs oldest first, the stopped one with its samples, models that were never attacked."""
        found = cli("runs --json --out", two).json
        assert [(row["run_id"], row["model"]) for row in found["runs"]] == [("aaaa11111111", "ce"), ("bbbb22222222", "at")]
        assert found["unfinished"] == [{"run_id": "cccc33333333", "n_decided": 17}]
        assert found["models"] == [{"model": "untouched", "finished": True, "command": None}]
        text = cli("runs", two).out
        assert max(map(len, text.splitlines())) <= 80
        for piece in ("digits test, linf:0.15, pgd:steps=10", "bbbb22222222", "17 samples decided", "robbench attack untouched"):
            assert piece in text

    def test_a_damaged_run_hides_no_other(self, cli: Cli, two: Path) -> None:
        """The listing is where one looks when something is broken: it names the file and goes on."""
        file = two / "results/runs/aaaa11111111.parquet"
        file.write_bytes(file.read_bytes()[:-9])
        found = cli("runs --json", two).json
        assert [row["run_id"] for row in found["runs"]] == ["bbbb22222222"]
        assert "aaaa11111111.parquet is damaged" in found["damaged"][0]["problem"]
        assert "is damaged" in " ".join(cli("runs", two).out.split())

    def test_folders_at_every_level_and_addresses(self, cli: Cli, two: Path) -> None:
        """The output folder, its results, and a copy elsewhere."""
        fsspec.filesystem("memory").put(str(two / "results"), "/listed/results", recursive=True)
        try:
            for place in (two, two / "results", "memory://listed"):
                found = cli("runs --json", place).json
                assert len(found["runs"]) == 2
                assert len(found["unfinished"]) == 1
        finally:
            fsspec.filesystem("memory").rm("/listed", recursive=True)

    def test_nothing_there(self, cli: Cli, tmp_path: Path) -> None:
        """Exit 2 with the first commands to run."""
        done = cli("runs --out", tmp_path / "none")
        assert (done.code, done.out) == (2, "")
        assert "robbench train" in done.err
        assert "give the folder that --out named" in cli("runs", tmp_path / "none").err


class TestQuery:
    """SQL over the store."""

    @pytest.fixture(autouse=True)
    def _duckdb(self) -> None:
        pytest.importorskip("duckdb")

    def test_views_join(self, cli: Cli, two: Path) -> None:
        """The paired counts of `compare`, asked in SQL."""
        sql = """SELECT count(*) FILTER (b.robust AND NOT a.robust) AS won, count(*) FILTER (a.robust AND NOT b.robust) AS lost
            FROM samples a JOIN samples b USING (sample_id) JOIN runs r ON r.run_id = a.run_id
            WHERE r.model = 'ce' AND b.run_id = 'bbbb22222222'"""
        done = cli("query --json --out", two, sql)
        row = cli("compare ce at --json --out", two).json["rows"][1]
        assert done.json["rows"] == [{"won": row["won"], "lost": row["lost"]}]
        assert done.json["schema"] == "robbench.query/1"

    def test_every_table_is_a_view(self, cli: Cli, two: Path) -> None:
        """Epochs of all models, tables this version does not know, and points though there are none."""
        folder = two / "results" / "checks"
        folder.mkdir()
        pq.write_table(pa.table({"verdict": ["fail", "pass"]}), folder / "bbbb22222222.parquet")
        for name, count in (("runs", 2), ("samples", 200), ("epochs", 2), ("points", 0), ("checks", 2)):
            assert cli("query --json --out", two, f"SELECT count(*) AS n FROM {name}").json["rows"] == [{"n": count}]
        assert cli("query --json --out", two, "SELECT run_id FROM points").json == {
            "schema": "robbench.query/1", "columns": ["run_id"], "rows": []
        }  # fmt: skip

    def test_a_column_that_an_older_file_lacks_is_null(self, cli: Cli, two: Path) -> None:
        """Files of several ages are one view."""
        file = two / "results/runs/aaaa11111111.parquet"
        pq.write_table(pq.read_table(file).drop_columns(["flags"]), file)
        done = cli("query --json --out", two, "SELECT model, flags IS NULL AS missing FROM runs ORDER BY model")
        assert done.json["rows"] == [{"model": "at", "missing": False}, {"model": "ce", "missing": True}]

    def test_forms(self, cli: Cli, two: Path, tmp_path: Path) -> None:
        """Table, CSV and Parquet have the rows of --json, and wide answers stand below each other within 80 columns."""
        sql = "SELECT model, n_samples, robust_accuracy FROM runs ORDER BY model"
        rows = cli("query --json --out", two, sql).json["rows"]
        assert [line["model"] for line in csv.DictReader(io.StringIO(cli("query --csv --out", two, sql).out))] == ["at", "ce"]
        assert cli("query --csv --out", two, "SELECT run_id FROM points").out == "run_id\n"
        cli("query --out", two, sql, "--parquet", tmp_path / "answer.parquet")
        assert pq.read_table(tmp_path / "answer.parquet").to_pylist() == rows
        assert [line.split()[0] for line in cli("query --out", two, sql).out.splitlines()[2:]] == ["at", "ce"]
        wide = cli("query --out", two, "SELECT * FROM runs").out.splitlines()
        assert max(map(len, wide)) <= 80
        assert sum(line.startswith("robust_accuracy_low") for line in wide) == 2

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
        """A file cut short, one of a newer schema, and an empty folder: exit 2, the file, the next step."""
        assert "give the folder" in cli("query --out", two / "none", "SELECT 1").err
        file = two / "results/samples/aaaa11111111.parquet"
        table, whole = pq.read_table(file), file.read_bytes()
        file.write_bytes(whole[:100])
        damaged = cli("query --out", two, "SELECT 1")
        pq.write_table(table.replace_schema_metadata({**table.schema.metadata, b"robbench.schema_version": b"9"}), file)
        newer = cli("query --out", two, "SELECT 1")
        for done, message in ((damaged, "aaaa11111111.parquet is damaged"), (newer, "upgrade robbench")):
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


def test_without_duckdb_one_line_says_how_to_get_it(cli: Cli, two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is named, exit 2."""
    monkeypatch.setitem(sys.modules, "duckdb", None)
    done = cli("query --out", two, "SELECT 1")
    assert (done.code, done.out) == (2, "")
    assert done.err == "error: robbench query needs DuckDB: pip install 'robbench[sql]'\n"


@pytest.mark.parametrize("words", [["show", "at"], ["runs"], ["compare"], ["show", "at", "--json"]], ids=" ".join)
def test_reading_results_loads_nothing_heavy(two: Path, words: list[str]) -> None:
    """A fresh process answers without torch, pandas, scipy or scikit-learn."""
    code = (
        "import sys\nfrom robbench.cli.app import main\ntry:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "print(*(name for name in ('torch', 'pandas', 'scipy', 'sklearn', 'duckdb') if name in sys.modules), file=sys.stderr)"
    )
    child = subprocess.run([sys.executable, "-c", code, *words, "--out", str(two)], capture_output=True, text=True, check=True)
    assert child.stderr.strip() == ""
    assert child.stdout
