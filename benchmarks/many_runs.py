"""Commands on an output folder of many runs: CPU seconds and peak memory.

    python benchmarks/many_runs.py [10000] [--samples 200] [--out DIR] [--only TEXT]

One real attack of a tiny model gives the row and the samples that all runs are copies of, with
other models, seeds, losses, budgets, attacks and verdicts. A folder DIR that is there already is
measured as it is. Commands run one after the other in a process each, the first of them twice: it
finds no index, and writes one.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from robbench.analysis.summary import summarise
from robbench.store.from_rows import to_table
from robbench.store.locations import sibling_table
from robbench.store.run import read_run
from robbench.store.schema import RUNS
from robbench.store.store import Store
from robbench.store.tables import read_table

LOSSES = ("cross-entropy", "trades", "mart", "sovr", "dm", "awp", "mma", "gairat", "hat", "lbgat")
BUDGETS = ((2 / 255, "linf:2/255"), (4 / 255, "linf:4/255"), (8 / 255, "linf:8/255"))
ATTACKS = ("apgd", "pgd:steps=50", "autoattack-lite")
FIRST = datetime.datetime(2026, 1, 1)
HERE = Path(__file__).parent


def robbench(*words: object, env: dict[str, str] | None = None) -> tuple[int, float, float]:
    """Run a command; returns its exit code, CPU seconds, and peak memory in MB."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    program = Path(sys.executable).with_name("robbench")
    process = subprocess.Popen(
        [program, *map(str, words)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = sum(getattr(after, name) - getattr(before, name) for name in ("ru_utime", "ru_stime"))
    return process.returncode, seconds, used.ru_maxrss / 1024


def make(out: Path, n: int, samples: int) -> None:
    """An output folder of `n` runs, of about 30 models' seeds, budgets and attacks each."""
    with tempfile.TemporaryDirectory() as folder:
        words = "attack mlp:width=4 --data digits --attack fgsm --threat linf:8/255 --limit"
        code, _, _ = robbench(*words.split(), samples, "--out", folder)
        if code:
            raise SystemExit("the attack that runs are copies of failed")
        (path,) = Store(folder).find()
        run, checks = read_run(path), read_table(sibling_table(path, "checks"), "checks")
    for kind in ("runs", "samples", "checks"):
        (out / "results" / kind).mkdir(parents=True)
    draw, per_model = np.random.default_rng(0), len(BUDGETS) * len(ATTACKS)
    for i in range(n):
        recipe, (eps, threat) = i // per_model, BUDGETS[i % len(BUDGETS)]
        attack = ATTACKS[i // len(BUDGETS) % len(ATTACKS)]
        loss, seed = LOSSES[recipe // 3 % len(LOSSES)], recipe % 3
        run_id = hashlib.sha256(str(i).encode()).hexdigest()[:16]
        rows = verdicts(run.samples, run_id, draw)
        row = (
            run.info
            | summarise(rows)
            | {
                "run_id": run_id,
                "model": f"{loss}-{recipe // 30}-seed{seed}",
                "model_hash": hashlib.sha256(f"m{recipe}".encode()).hexdigest()[:16],
                "loss": loss,
                "train_seed": seed,
                "eps": eps,
                "threat": threat,
                "attack": attack,
                "attack_params": f'["{attack}"]',
                "started_at": FIRST + datetime.timedelta(minutes=i),
                "finished_at": FIRST + datetime.timedelta(minutes=i + 1),
                "tags": '["nightly"]' if i % 50 == 0 else None,
            }
        )
        write(out, "runs", run_id, to_table(RUNS, [row]))
        write(out, "samples", run_id, rows)
        write(out, "checks", run_id, checks)


def verdicts(samples: pa.Table, run_id: str, draw: np.random.Generator) -> pa.Table:
    """The samples of another run: of each that is classified correctly it is drawn if it falls."""
    correct = np.array(samples["clean_correct"].to_pylist())
    robust = correct & (draw.random(len(correct)) < draw.uniform(0.2, 0.8))
    margin = np.where(robust, 1, -1) * draw.random(len(correct))
    for name, values in {
        "run_id": [run_id] * len(correct),
        "robust": robust,
        "adversarial": ~robust,
        "adv_margin": margin,
    }.items():
        at = samples.schema.get_field_index(name)
        field = samples.schema.field(name)
        samples = samples.set_column(at, field, pa.array(values, field.type))
    return samples


def write(out: Path, kind: str, run_id: str, table: pa.Table) -> None:
    """As `store.tables.write_table`, without waiting for the disk."""
    facts = {**table.schema.metadata, b"robbench.run": run_id.encode()}
    pq.write_table(
        table.replace_schema_metadata(facts),
        out / "results" / kind / f"{run_id}.parquet",
        compression="zstd",
        write_page_checksum=True,
    )


def commands(out: Path, work: Path) -> dict[str, list[Any]]:
    """The commands to measure, by what they do."""
    some = ["--where", "threat=linf:4/255", "--where", "attack=apgd"]
    few = ["--where", "loss=trades", *some, "--where", "train_seed=0"]
    last = sorted((out / "results" / "runs").glob("*.parquet"))[-1].stem
    html = work / "report.html"
    return {
        "runs": ["runs"],
        "runs --json": ["runs", "--json"],
        "show RUN": ["show", last],
        "show MODEL@latest": ["show", "trades-0-seed0@latest"],
        "compare MODEL MODEL --where": ["compare", "trades-0-seed0", "mart-0-seed0", *some],
        "compare --where (few)": ["compare", *few],
        "report --where (few)": ["report", *few, "--html", html],
        "compare --where (1 of 9)": ["compare", *some],
        "compare": ["compare", "--allow", "attack"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("n", type=int, nargs="?", default=10_000)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", default="", help="only commands whose name begins so")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work, out = Path(folder), args.out or Path(folder) / "out"
        if not out.exists():
            make(out, args.n, args.samples)
        table = Table(title=f"{args.n:,} runs of {args.samples} samples")
        for head in ("command", "exit", "CPU s", "MB"):
            table.add_column(head, justify="left" if head == "command" else "right")
        todo = {
            name: words for name, words in commands(out, work).items() if name.startswith(args.only)
        }
        first = next(iter(todo))
        for name, words in [(f"{first}, no index", todo[first]), *todo.items()]:
            code, seconds, memory = robbench(*words, "--out", out)
            table.add_row(name, str(code), f"{seconds:.2f}", f"{memory:.0f}")
            print(f"{name}: {seconds:.2f} s, {memory:.0f} MB", file=sys.stderr)
        Console().print(table)


if __name__ == "__main__":
    main()
