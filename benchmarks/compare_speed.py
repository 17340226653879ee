"""Claim: `robbench compare` takes under two seconds for 1,000,000 sample rows, without torch.

python benchmarks/compare_speed.py [--rows 1000000] [--repeat 5]

The command runs as a process of its own, start of Python included, on one core where the system
lets it be pinned. Processor seconds are what it needs; wall seconds are those of this machine with
whatever else it does. Exit 1 if the claim does not hold.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from robbench.analysis.summary import summarise
from robbench.store.from_rows import to_table
from robbench.store.schema import RUNS, SAMPLES, SCHEMA_VERSION
from robbench.store.tables import write_table

LIMIT = 2.0
SHAPES = (2, 10, 100)
"""Runs that share the rows; each pair of them is joined by sample."""
TIMED = """
import os, resource, sys
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])
from robbench.cli.app import main
try:
    main()
finally:
    used = resource.getrusage(resource.RUSAGE_SELF)
    heavy = [name for name in ("torch", "pandas", "scipy", "sklearn") if name in sys.modules]
    print(f"{used.ru_utime + used.ru_stime:.3f} {used.ru_maxrss // 1024}", *heavy, file=sys.stderr)
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
            values = (
                rng.normal(size=n) if pa.types.is_floating(field.type) else rng.integers(0, 2, n)
            )
        arrays.append(pa.array(values).cast(field.type))
    samples = pa.Table.from_arrays(arrays, schema=SAMPLES)
    facts: dict[str, object] = {field.name: "x" for field in RUNS if pa.types.is_string(field.type)}
    facts |= {
        field.name: 1
        for field in RUNS
        if pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
    }
    facts |= {
        "flags": "[]",
        "max_time_s": None,
        "max_queries": None,
        "train_config": None,
        "norm": "linf",
        "attack_params": "[]",
    }
    facts |= {
        "started_at": datetime.now(UTC),
        "finished_at": datetime.now(UTC),
        "deterministic": False,
    }
    facts |= summarise(samples) | {
        "run_id": run_id,
        "model": f"model{seed}",
        "schema_version": SCHEMA_VERSION,
    }
    write_table(root / "results" / "samples" / f"{run_id}.parquet", samples, run_id)
    write_table(root / "results" / "runs" / f"{run_id}.parquet", to_table(RUNS, [facts]), run_id)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    print(
        f"{platform.platform()}, {platform.processor() or platform.machine()}, "
        f"Python {platform.python_version()}"
    )
    worst = 0.0
    for runs in SHAPES:
        with tempfile.TemporaryDirectory() as folder:
            for seed in range(runs):
                make_run(Path(folder), f"{seed:012x}", seed, options.rows // runs)
            times = [timed(folder) for _ in range(options.repeat)]
        wall, cpu = min(each[0] for each in times), min(each[1] for each in times)
        heavy = " ".join(times[0][3]) or "none"
        print(
            f"{runs} runs x {options.rows // runs} samples: {cpu:.2f} s of one core, "
            f"{wall:.2f} s on the clock "
            f"(best of {options.repeat}), {times[0][2]} MiB; heavy libraries loaded: {heavy}"
        )
        worst = max(worst, cpu if heavy == "none" else float("inf"))
    print(f"claim {'holds' if worst < LIMIT else 'FAILS'}: at most {worst:.2f} s, limit {LIMIT} s")
    return int(worst >= LIMIT)


def timed(folder: str) -> tuple[float, float, int, list[str]]:
    """Wall and processor seconds, peak MiB and heavy imports of one comparison."""
    began = time.perf_counter()
    command = [sys.executable, "-c", TIMED, "compare", "--out", folder, "--json", "--quiet"]
    child = subprocess.run(command, capture_output=True, text=True, check=True)
    cpu, memory, *heavy = child.stderr.split()
    return time.perf_counter() - began, float(cpu), int(memory), heavy


if __name__ == "__main__":
    sys.exit(main())
