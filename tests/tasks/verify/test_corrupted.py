"""Runs under corruptions are verified by corrupting again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Cli = Callable[..., Any]
ATTACK = "attack mlp:width=8,depth=1 --data digits --limit 40 --threat corruption:fog@5"


def _claims(done: Any) -> dict[str, str]:
    return {claim["claim"]: claim["verdict"] for claim in done.json["claims"]}


def test_both_accuracies_are_confirmed_without_a_stored_point(cli: Cli, tmp_path: Path) -> None:
    cli(ATTACK, "--out", tmp_path)
    done = cli("verify mlp:width=8,depth=1 --json --out", tmp_path)
    claims = _claims(done)
    assert done.code == 0
    assert claims["clean accuracy"] == claims["robust accuracy"] == "confirmed"
    assert set(claims.values()) == {"confirmed"}


def test_a_sample_that_the_model_gets_wrong_is_found(cli: Cli, tmp_path: Path) -> None:
    """A row that says otherwise refutes the number, and is named."""
    cli(ATTACK, "--out", tmp_path)
    (path,) = (tmp_path / "results" / "samples").glob("*.parquet")
    table = pq.read_table(path)
    rows = table.to_pylist()
    fallen = next(row for row in rows if row["adversarial"])
    fallen |= {"adversarial": False, "robust": True, "broken_by": None}
    pq.write_table(pa.Table.from_pylist(rows, table.schema), path)
    done = cli("verify mlp:width=8,depth=1 --json --out", tmp_path)
    (claim,) = (one for one in done.json["claims"] if one["claim"] == "robust accuracy")
    assert done.code == 1
    assert claim["verdict"] == "refuted"
    assert claim["samples"] == [f"{fallen['sample_id']:016x}"]
