"""Claim: comparing two runs of 500,000 samples takes under two seconds in a fresh process, and never loads torch.

python benchmarks/compare_speed.py [--samples 500000] [--repeat 5]
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from robbench.results.files import write_table
from robbench.results.schema import RUNS, SAMPLES, SCHEMA_VERSION, to_table
from robbench.results.summary import summarise

TIMED = """
import sys, time
start = time.perf_counter()
from robbench.results.compare import COLUMNS, compare, to_json
from robbench.results.store import Store, read_run
loaded = time.perf_counter()
text = to_json(compare([read_run(path, COLUMNS) for path in Store(sys.argv[1]).find()]))
done = time.perf_counter()
print(f"{loaded - start:.3f} {done - loaded:.3f} {'torch' in sys.modules} {'pandas' in sys.modules}")
"""


def make_run(root: Path, run_id: str, seed: int, n: int) -> None:
    """Write a run of n samples in an order of its own, so that the join has work to do."""
    rng = np.random.default_rng(seed)
    ids = np.random.default_rng(0).permutation(np.arange(n) * 7919 + 1)
    order = rng.permutation(n)
    correct = rng.random(n) < 0.9
    robust = correct & (rng.random(n) < 0.5)
    filled = {
        "run_id": [run_id] * n,
        "sample_id": ids[order],
        "clean_correct": correct,
        "robust": robust,
        "adversarial": ~robust,
        "broken_by": np.where(robust, None, "apgd:loss=ce"),
    }
    arrays = []
    for field in SAMPLES:
        values = filled.get(field.name)
        if values is None:
            values = rng.normal(size=n) if pa.types.is_floating(field.type) else rng.integers(0, 2, n)
        arrays.append(pa.array(values).cast(field.type))
    samples = pa.Table.from_arrays(arrays, schema=SAMPLES)
    facts: dict[str, object] = {field.name: "x" for field in RUNS if pa.types.is_string(field.type)}
    facts |= {field.name: 1 for field in RUNS if pa.types.is_integer(field.type) or pa.types.is_floating(field.type)}
    facts |= {"started_at": datetime.now(UTC), "finished_at": datetime.now(UTC), "deterministic": False}
    facts |= summarise(samples) | {"run_id": run_id, "model": f"model{seed}", "schema_version": SCHEMA_VERSION}
    write_table(root / "results" / "samples" / f"{run_id}.parquet", samples, run_id)
    write_table(root / "results" / "runs" / f"{run_id}.parquet", to_table(RUNS, [facts]), run_id)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=500_000)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for seed in (1, 2):
            make_run(Path(folder), f"{seed:012x}", seed, options.samples)
        print(f"2 runs x {options.samples} samples, {platform.platform()}, Python {platform.python_version()}")
        for _ in range(options.repeat):
            child = subprocess.run([sys.executable, "-c", TIMED, folder], capture_output=True, text=True, check=True)
            imports, work, torch, pandas = child.stdout.split()
            print(f"imports {imports} s, compare {work} s, torch imported: {torch}, pandas imported: {pandas}")


if __name__ == "__main__":
    main()
