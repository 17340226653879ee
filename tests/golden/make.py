"""Writes the stored numbers after an intended change: `python tests/golden/make.py`."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
COMMANDS = [
    "train --data digits --loss cross-entropy --epochs 2 --name ce",
    "train --data digits --loss cross-entropy --inner pgd:steps=7 --threat linf:0.15 --epochs 2 "
    "--name at",
    "attack ce at --attack pgd:steps=10 --attack apgd:steps=20 --threat linf:0.15 --limit 60 "
    "--json",
    "measure ce at --train-samples 50",
    "certify ce at --method ibp --threat linf:0.01 --limit 5",
]
COUNTS = ("n_samples", "n_clean_correct", "n_robust", "n_adversarial")


def numbers(out: Path) -> dict[str, dict[str, int]]:
    """The counts of each model's run."""
    import pyarrow.parquet as pq

    rows = [
        row
        for path in (out / "results" / "runs").glob("*.parquet")
        for row in pq.read_table(path).to_pylist()
    ]
    return {
        row["model"]: {name: row[name] for name in COUNTS}
        for row in sorted(rows, key=lambda row: row["model"])
    }


def schemas(out: Path) -> dict[str, dict[str, str]]:
    """Column names and types of the tables, as the files say."""
    import pyarrow.parquet as pq

    files = {
        "runs": next((out / "results" / "runs").glob("*.parquet")),
        "samples": next((out / "results" / "samples").glob("*.parquet")),
        "measures": next((out / "results" / "measures").glob("*.parquet")),
        "sample_measures": next((out / "results" / "sample_measures").glob("*.parquet")),
        "checks": next((out / "results" / "checks").glob("*.parquet")),
        "certificates": next((out / "results" / "certificates").glob("*.parquet")),
        "epochs": out / "models" / "ce" / "epochs.parquet",
    }
    tables = {}
    for name, path in files.items():
        schema = pq.read_schema(path)
        tables[name] = {
            field.name: f"{field.type}{'' if field.nullable else ' not null'}" for field in schema
        }
        tables[name]["(schema version)"] = schema.metadata[b"robbench.schema_version"].decode()
    return tables


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for command in COMMANDS:
            subprocess.run(
                [sys.executable, "-m", "robbench", *command.split(), "--out", folder], check=True
            )
        for name, content in (
            ("numbers", numbers(Path(folder))),
            ("schema", schemas(Path(folder))),
        ):
            (HERE / f"{name}.json").write_text(
                json.dumps(content, indent=2) + "\n", encoding="utf-8"
            )
