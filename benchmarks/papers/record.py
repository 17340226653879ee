"""Record what a sweep of this folder found: results/NAME.parquet, one row per attack of a model.

    python benchmarks/papers/record.py NAME... [--out runs]

It reads the tables that `robbench sweep` wrote to --out; nothing is computed again. What is there
of an unfinished or narrowed sweep is recorded; what was recorded before of other models or attacks
is kept. `python tests/docs/generated.py` then makes the tables of `robbench explain papers`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from page import RESULTS

_RUN = (
    *("run_id", "model", "model_arch", "model_hash", "train_seed", "data", "split", "data_hash"),
    *("threat", "attack", "seed", "n_samples", "clean_accuracy", "robust_accuracy"),
    *("n_audited", "n_audit_broken", "audit_missed_high", "robust_accuracy_audited"),
    *("clean_margin_p50", "adv_margin_p50", "n_forward", "n_backward"),
    *("device", "device_name", "robbench_version", "torch_version", "git_sha", "finished_at"),
)
_KEY = ("model", "split", "attack", "threat")
_DIRECTIONS = (1, 10)  # whose share of the features' variance is recorded
_TRAINED = ("model", "data", "limit", "inner", "threat", "epochs", "batch_size", "lr", "eps_warmup")


def record(name: str, out: Path) -> Path:
    """Write results/NAME.parquet; raises SystemExit where `out` has no such sweep."""
    folder = out / "results"
    table = folder / "sweeps" / f"{name}.parquet"
    if not table.exists():
        raise SystemExit(
            f"error: no sweep {name} in {folder}: "
            f"robbench sweep benchmarks/papers/{name}.toml --out {out}"
        )
    tasks = pd.read_parquet(table)
    tasks = tasks[tasks.status == "done"]
    losses = {
        task.model: json.loads(task.settings)["loss"]
        for task in tasks[tasks.kind == "train"].itertuples()
    }
    ids = {run for ids in tasks[tasks.kind == "attack"].run_ids for run in json.loads(ids)}
    if not ids:
        raise SystemExit(f"error: sweep {name} in {folder} has attacked no model to its end yet")
    runs = pd.read_parquet(folder / "runs", filters=[("run_id", "in", sorted(ids))])
    rows = [{"loss": losses[run["model"]], **_row(run, folder)} for run in runs.to_dict("records")]
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.parquet"
    earlier = pq.read_table(path).to_pylist() if path.exists() else []
    by_key = {tuple(row[name] for name in _KEY): row for row in [*earlier, *rows]}
    pq.write_table(
        pa.Table.from_pylist([by_key[key] for key in sorted(by_key)]), path, compression="zstd"
    )
    return path


def _row(run: dict[str, Any], folder: Path) -> dict[str, Any]:
    samples = pd.read_parquet(folder / "samples" / f"{run['run_id']}.parquet")
    by_first = samples.broken_by.isin(["clean", run["attack"].partition(" + ")[0]])
    epochs = pd.read_parquet(folder.parent / "models" / run["model"] / "epochs.parquet")
    trained = json.loads(run["train_config"])
    n = run["n_samples"]
    return {
        **{name: _plain(run[name]) for name in _RUN},
        "robust_accuracy_first": 1 - float(by_first.mean()),
        "no_gradient": float((samples.n_zero_gradient > 0).mean()),
        "queries": (run["n_forward"] + run["n_backward"]) / n,
        "train_forward": int(epochs.n_forward.sum()),
        "train_backward": int(epochs.n_backward.sum()),
        "train_logs": epochs.iloc[-1].get("logs") or "{}",
        "measures": json.dumps(_measures(run["run_id"], folder), sort_keys=True),
        "failed_checks": json.dumps(_failed(run["run_id"], folder)),
        "recipe": json.dumps({name: trained.get(name) for name in _TRAINED}),
    }


def _plain(value: Any) -> Any:
    return None if pd.isna(value) else value


def _measures(run_id: str, folder: Path) -> dict[str, float]:
    """`NAME points split` -> value, of all classes together."""
    path = folder / "measures" / f"{run_id}.parquet"
    if not path.exists():
        return {}
    rows = pd.read_parquet(path)
    rows = rows[rows["class"].isna() & rows.value.notna()]
    found = {
        f"{row.name} {row.points} {row.split}": row.value for row in rows.itertuples(index=False)
    }
    for row in rows[rows.name == "numerical_rank"].itertuples(index=False):
        energy = json.loads(row.detail)["energy"]
        shares = dict(zip(energy["at"], energy["share"], strict=True))
        for n in _DIRECTIONS:
            if n in shares:
                found[f"variance_in_{n} {row.points} {row.split}"] = shares[n]
    return found


def _failed(run_id: str, folder: Path) -> list[str]:
    path = folder / "checks" / f"{run_id}.parquet"
    if not path.exists():
        return []
    rows = pd.read_parquet(path)
    return sorted(rows[(rows.verdict == "fail") & (rows.severity == "error")].check)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="+", metavar="NAME")
    parser.add_argument("--out", type=Path, default=Path("runs"))
    given = parser.parse_args()
    for each in given.names:
        print(f"wrote {record(each, given.out)}")
