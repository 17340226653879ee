"""`robbench show` and `runs`: one run, and what there is."""

from __future__ import annotations

import json
import re
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

from robbench.store.run import Run

Stored = Callable[..., Run]
Cli = Callable[..., Any]


class TestShow:
    """One run on one screen."""

    def test_the_numbers_are_those_of_the_rows(self, cli: Cli, two: Path) -> None:
        """Counts by attack and class, medians of steps and sizes, recomputed in plain Python."""
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
        """At most 80 columns and 40 lines: attack in full, rates, flags, command, files."""
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
        """Every other table of the run is counted, also one this version does not know."""
        folder = two / "results" / "later"
        folder.mkdir()
        pq.write_table(pa.table({"run_id": ["bbbb22222222"] * 3}), folder / "bbbb22222222.parquet")
        assert cli("show at --json --out", two).json["tables"] == {"later": 3}
        assert "later (3 rows)" in cli("show at --out", two).out

    def test_copies_of_own_code_are_named(self, cli: Cli, two: Path) -> None:
        """The code behind the run, and that behind the training of its model."""
        assert cli("show ce --json --out", two).json["own_code"] == []
        assert "own code" not in cli("show ce --out", two).out
        folders = [two / "results/code/aaaa11111111", two / "models/ce/code"]
        for folder in folders:
            folder.mkdir(parents=True)
        assert cli("show ce --json --out", two).json["own_code"] == [*map(str, folders)]
        assert "own code" in cli("show ce --out", two).out

    def test_what_checks_and_measures_say_is_shown(self, cli: Cli, two: Path) -> None:
        """A failed check in full, the others counted; measures over all classes with values."""
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

    def test_classes_have_names(self, cli: Cli, tmp_path: Path, stored: Stored) -> None:
        """Those that the run kept, though no model's folder is there."""
        names = json.dumps([f"class {n}" for n in "abcdefghij"])
        stored("eeee11111111", classes=names)
        weakest = next(
            line for line in cli("show ce --out", tmp_path).out.splitlines() if "weakest" in line
        )
        assert re.search(r"class [a-j]: \d", weakest)
        assert cli("show ce --json --out", tmp_path).json["class_names"] == json.loads(names)
        assert "class class d: clean" in cli("show ce --verbose --out", tmp_path).err

    def test_a_model_with_two_runs_is_a_choice(self, cli: Cli, two: Path, stored: Stored) -> None:
        """Exit 2 lists the runs with threat and attack, and the command for one."""
        stored("dddd44444444", age=100, attack="fgsm")
        done = cli("show ce --out", two)
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
        assert (
            "'ce' means 2 runs: aaaa11111111 (linf:0.15, pgd:steps=10, 100 samples); "
            "dddd44444444 (linf:0.15, fgsm, 20 samples)" in done.err
        )
        assert "robbench show dddd44444444" in done.err

    def test_runs_alike_are_told_apart_by_their_settings(
        self, cli: Cli, two: Path, stored: Stored
    ) -> None:
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
            far = cli(
                "show memory://shown/results/runs/bbbb22222222.parquet --json --out", two / "none"
            ).json
            here = cli("show at --json --out", two).json
            assert {**far, "files": 0} == {**here, "files": 0}
            assert all(file.startswith("memory://") for file in far["files"])
        finally:
            fsspec.filesystem("memory").rm("/shown", recursive=True)


class TestRuns:
    """What is there."""

    def test_everything_is_listed(self, cli: Cli, two: Path) -> None:
        """Finished runs oldest first, the stopped one with its samples, models not yet attacked."""
        found = cli("runs --json --out", two).json
        assert [(row["run_id"], row["model"]) for row in found["runs"]] == [
            ("aaaa11111111", "ce"),
            ("bbbb22222222", "at"),
        ]
        assert found["unfinished"] == [{"run_id": "cccc33333333", "n_decided": 17}]
        assert found["models"] == [{"model": "untouched", "finished": True, "command": None}]
        text = cli("runs", two).out
        assert max(map(len, text.splitlines())) <= 80
        for piece in (
            "digits test, linf:0.15, pgd:steps=10",
            "bbbb22222222",
            "17 samples decided",
            "robbench attack untouched",
        ):
            assert piece in text

    def test_a_damaged_run_hides_no_other(self, cli: Cli, two: Path) -> None:
        """The listing is where one looks for a fault: it names the damaged file and continues."""
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


@pytest.mark.parametrize(
    "words", [["show", "at"], ["runs"], ["compare"], ["show", "at", "--json"]], ids=" ".join
)
def test_reading_results_loads_nothing_heavy(two: Path, words: list[str]) -> None:
    """A fresh process answers without torch, pandas, scipy or scikit-learn."""
    code = (
        "import sys\nfrom robbench.cli.app import main\ntry:\n    main()\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "print(*(name for name in ('torch', 'pandas', 'scipy', 'sklearn', "
        "'duckdb') if name in sys.modules), file=sys.stderr)"
    )
    child = subprocess.run(
        [sys.executable, "-c", code, *words, "--out", str(two)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert child.stderr.strip() == ""
    assert child.stdout
