"""One step of adversarial training against plain loops, and against its least cost.

    python benchmarks/train_step.py [--device cuda] [--precision bf16] [--batch 128] [--rounds 9]
    [--data mnist] [--json FILE] [--own-share]

at: PGD-10 and cross-entropy (Madry et al. 2018). The usual loop calls loss.backward() in every
inner step, which makes gradients of the weights that nobody reads (as in
locuslab/robust_overfitting, less its passes for restarts and logging). trades: Zhang et al. 2019.
The released loss passes the clean batch in every inner step and twice in the end; two are enough.

All train the same model from the same weights on the same random images; the inner attack has the
same start, in evaluation mode. `lean` is the usual loop without passes that nobody reads: it asks
autograd for the points alone, and passes the clean batch of TRADES once. `bare` is the passes that
cannot be left out and the optimizer's step: ours / bare is what the engine costs. They take turns
in one process; only ratios within a round mean anything: median and range, on a CPU of process
time, which other programs do not add to. `--own-share` instead says how much of `robbench train` is
spent in the model's passes, in the optimizer and in all else. Passes are counted by hooks, in rows
per sample; `weights` are backward passes that reach the weights. `agree` is the share of
pixels at which the inner points of ours and of the usual loop agree to 1e-5 in float64 (and in the
precision timed, where signs of rounding noise differ: TRADES begins where its KL is flat).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from robbench.core.reproducible import prepare

prepare()  # before torch is loaded

import torch
from rich.console import Console
from rich.table import Table
from train_loops import RUNS, SETTINGS, Side
from train_share import show_train_share

from robbench.core import keyed
from robbench.core.device import deterministic, find_device
from robbench.core.spec import finite
from robbench.models.create import create
from robbench.store.provenance import provenance
from robbench.threat.model import parse_threat

LOOK = 16  # samples whose inner points and passes are looked at
RATIOS = [f"ours/{kind}" for kind in RUNS if kind != "ours"]


def measure(name: str, task: str, args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Alternate them, each round in another order; a row of the table."""
    info, text = SETTINGS[args.data]
    threat = parse_threat(text)[0]
    wait, model = torch.cuda.synchronize if device.type == "cuda" else int, create(name, info)
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    x, y = (
        torch.rand(args.batch, *info.shape).to(device),
        torch.randint(10, (args.batch,)).to(device),
    )
    batch = (y, keyed.fold(torch.arange(args.batch), 1).to(device), task)
    seconds: dict[str, list[float]] = {kind: [] for kind in RUNS}
    row: dict[str, Any] = {
        "model": name,
        "task": task,
        "batch": args.batch,
        "seconds": seconds,
        "counts": {},
    }
    for number in range(-1, args.rounds):  # one to warm up
        first = number % len(RUNS)
        for kind in [*RUNS, *RUNS][first : first + len(RUNS)]:
            side = Side(model, threat, args.precision, device)  # the same step, the same weights
            wait()
            began = clock()
            RUNS[kind](side, x, *batch)
            wait()
            if number >= 0:
                seconds[kind].append(clock() - began)
    for column, precision in (
        ("agree", "fp64"),
        ("agree_timed", args.precision),
    ):  # the counts are those of the last
        sides = {kind: Side(model, threat, precision, device) for kind in RUNS}
        for kind, side in sides.items():
            counts = side.count()
            few = x[:LOOK].double() if precision == "fp64" else x[:LOOK]
            RUNS[kind](side, few, y[:LOOK], batch[1][:LOOK], task)
            row["counts"][kind] = {
                what: n if what == "weights" else n / len(few) for what, n in counts.items()
            }
        gap = (sides["ours"].points - sides["usual"].points).abs()
        row[column] = float((gap <= 1e-5).double().mean())
    times = zip(*seconds.values(), strict=True)
    row |= zip(
        RATIOS,
        zip(*((t[0] / t[1], t[0] / t[2], t[0] / t[3]) for t in times), strict=True),
        strict=True,
    )
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--data", choices=SETTINGS, default="cifar10", help="random images like")
    parser.add_argument("--own-share", action="store_true", help="of our CPU time")
    parser.add_argument("--models", default="small-cnn,preact-resnet18")
    parser.add_argument("--json", type=Path, help="file for all rows")
    args = parser.parse_args()
    device = find_device(args.device)
    facts = provenance() | {
        "device": str(device),
        "threads": torch.get_num_threads(),
        "precision": args.precision,
    }
    facts["on"] = torch.cuda.get_device_name(device) if device.type == "cuda" else facts["cpu"]
    print(
        f"torch {torch.__version__}, {facts['on']}, {args.precision}, batch {args.batch}, "
        f"{args.rounds} rounds"
    )
    if args.own_share:
        info, text = SETTINGS[args.data]
        for name in args.models.split(","):
            show_train_share(name, info, parse_threat(text)[0], args.batch, args.rounds)
        return
    torch.manual_seed(0)
    with deterministic():
        rows = [
            measure(name, task, args, device)
            for name in args.models.split(",")
            for task in ("at", "trades")
        ]
    passes = ("forwards", "backwards", "weights")
    table = Table(
        "model",
        "task",
        f"ms {' / '.join(RUNS)}",
        *(f"{name} (range)" for name in RATIOS),
        *passes,
        "agree",
    )
    for row in rows:
        times = " / ".join(
            f"{1000 * statistics.median(spent):.1f}" for spent in row["seconds"].values()
        )
        spread = [
            f"{statistics.median(r):.3f} ({min(r):.3f}-{max(r):.3f})"
            for r in (row[name] for name in RATIOS)
        ]
        counts = [
            " / ".join(f"{side[what]:g}" for side in row["counts"].values()) for what in passes
        ]
        agree = f"{row['agree']:.2%} ({row['agree_timed']:.2%})"
        table.add_row(row["model"], row["task"], times, *spread, *counts, agree)
    Console(width=None if sys.stdout.isatty() else 190).print(table)
    if args.json:
        args.json.write_text(
            json.dumps(finite({"facts": facts, "rows": rows}), indent=1, allow_nan=False)
        )


if __name__ == "__main__":
    main()
