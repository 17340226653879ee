"""The result of `robbench train`."""

from __future__ import annotations

import pyarrow.parquet as pq

TINY = "train --limit 200 --epochs 3 --model mlp:depth=0 --name m --device cpu --out"


def test_it_ends_with_the_validation_of_its_best_and_last_epoch(cli, tmp_path):
    """As in its epochs table, also where the model was there already, and as JSON."""
    done, again, as_json = (
        cli(TINY, tmp_path),
        cli(TINY, tmp_path),
        cli(TINY, tmp_path, "--json"),
    )
    assert (done.code, again.code, as_json.code) == (0, 0, 0), done.err
    rows = pq.read_table(tmp_path / "models" / "m" / "epochs.parquet").to_pylist()
    clean, robust = (100 * rows[-1][f"{name}_accuracy"] for name in ("clean", "robust"))
    last = f"last epoch 3: validation {clean:.1f}% clean, {robust:.1f}% robust"
    assert last in done.out
    assert again.out == done.out
    best = max(rows, key=lambda row: (row["robust_accuracy"], row["clean_accuracy"], row["epoch"]))
    names = ("epoch", "clean_accuracy", "robust_accuracy")
    assert as_json.json["validation"] == {
        "best": {name: best[name] for name in names},
        "last": {name: rows[-1][name] for name in names},
    }
