"""One step of adversarial training against plain loops, and against its least cost.

    python benchmarks/train_step.py [--device cuda] [--precision bf16] [--batch 128] [--rounds 9]
    [--json FILE]

at: PGD-10 and cross-entropy (Madry et al. 2018). The usual loop calls loss.backward() in every
inner step, which makes gradients of the weights that nobody reads (as in
locuslab/robust_overfitting, less its passes for restarts and logging). trades: Zhang et al. 2019.
The released loss passes the clean batch in every inner step and twice in the end; two are enough.

All train the same model from the same weights on the same random images; the inner attack has the
same start, in evaluation mode. `bare` is the passes that cannot be left out and the optimizer's
step: ours / bare is what the engine costs. They take turns in one process; only ratios within a
round mean anything: median and range. Passes are counted by hooks, in rows per sample; `weights`
are backward passes that reach the weights. `agree` is the share of pixels at which both sides'
inner points agree to 1e-5 in float64 (and in the precision timed, where signs of rounding noise
differ: TRADES begins where its KL is flat).
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import statistics
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any
from unittest import mock

from robbench.core.reproducible import prepare

prepare()  # before torch is loaded

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from robbench.attacks.pgd import PGD
from robbench.core import keyed
from robbench.core.device import deterministic, find_device
from robbench.core.spec import finite
from robbench.data.base import DataInfo
from robbench.losses.cross_entropy import CrossEntropy
from robbench.losses.trades import TRADES
from robbench.models.base import Classifier
from robbench.models.create import create
from robbench.store.provenance import provenance
from robbench.threat.model import parse_threat
from robbench.training.forward import Forward
from robbench.training.inner import Inner
from robbench.training.optimizers import make_optimizer
from robbench.training.step import TrainStep

LOOK = 16  # samples whose inner points and passes are looked at
STEPS, EPS, RATE, BETA, THREAT = 10, 8 / 255, 0.25, 6.0, parse_threat("linf:8/255")[0]
INFO = DataInfo((3, 32, 32), tuple(f"class{k}" for k in range(10)), (0.5,) * 3, (0.25,) * 3)


class Side:
    """A model that trains, and the points of its last inner attack."""

    def __init__(self, model: Classifier, precision: str, device: torch.device) -> None:
        self.model = copy.deepcopy(model).to(device).train()
        self.cast, self.points = precision == "bf16", torch.zeros(0)
        self.forward = Forward(
            self.model.double() if precision == "fp64" else self.model, precision=precision
        )
        if precision == "fp64":
            self.forward = mock.Mock(
                wraps=self.model, output=self.model.output
            )  # without the cast to float32
        self.optimizer = make_optimizer("sgd", self.model, lr=0.1, momentum=0.9, weight_decay=5e-4)

    def __call__(self, x: Tensor) -> Tensor:
        """Logits as plain code has them."""
        with (
            torch.autocast(x.device.type, torch.bfloat16) if self.cast else contextlib.nullcontext()
        ):
            logits = self.model(x)
        return logits.float() if self.cast else logits

    def finish(self, loss: Tensor) -> None:
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def count(self) -> Counter[str]:
        """Passes from now on, in rows; those that reach the weights by themselves."""
        counts = Counter(forwards=0, backwards=0, weights=0)

        def passed(module: Any, inputs: tuple[Tensor], logits: Tensor) -> None:
            counts.update(forwards=len(logits))
            if logits.requires_grad:
                logits.register_hook(lambda grad: counts.update(backwards=len(grad)))

        self.model.head.register_forward_hook(passed)
        next(self.model.parameters()).register_post_accumulate_grad_hook(
            lambda _: counts.update(weights=1)
        )
        return counts


def ours(side: Side, x: Tensor, y: Tensor, key: Tensor, task: str) -> None:
    loss = TRADES(beta=BETA) if task == "trades" else CrossEntropy()
    inner = Inner(
        PGD(steps=STEPS, rate=RATE, init="gaussian" if task == "trades" else "uniform"), THREAT
    )
    index = torch.arange(len(y), device=y.device)
    step = TrainStep(
        side.model, x, y, index, key=key, epoch=0, progress=0.5, inner=inner, forward=side.forward
    )
    side.finish(loss(step).mean())
    side.points = step.adversary(loss.climbs).x


def usual(side: Side, x: Tensor, y: Tensor, key: Tensor, task: str) -> None:
    """The loops of the papers' code, from the same random start."""
    trades, shape, kl = task == "trades", x.shape[1:], torch.nn.KLDivLoss(reduction="sum")
    start = (
        0.001 * keyed.normal(key, shape, dtype=x.dtype)
        if trades
        else keyed.uniform(key, shape, dtype=x.dtype) * 2 * EPS - EPS
    )
    points = (x + start.clamp(-EPS, EPS)).clamp(0, 1)
    side.model.eval()
    for _ in range(STEPS):
        points = points.detach().requires_grad_()
        if trades:
            (grad,) = torch.autograd.grad(
                kl(F.log_softmax(side(points), 1), F.softmax(side(x), 1)), [points]
            )
        else:
            F.cross_entropy(side(points), y).backward()
            grad = points.grad
        points = points.detach() + RATE * EPS * grad.sign()
        points = torch.min(torch.max(points, x - EPS), x + EPS).clamp(0, 1)
    side.model.train()
    side.points = points.detach()
    loss = F.cross_entropy(side(x if trades else side.points), y)
    if trades:
        loss = loss + BETA * kl(F.log_softmax(side(side.points), 1), F.softmax(side(x), 1)) / len(y)
    side.finish(loss)


def bare(side: Side, x: Tensor, y: Tensor, key: Tensor, task: str) -> None:
    """The passes that are needed, at the clean inputs: no start, no projection, no books."""
    side.model.eval().requires_grad_(False)
    if task == "trades":
        side(x)
    for _ in range(STEPS):
        leaf = x.detach().requires_grad_()
        torch.autograd.grad(F.cross_entropy(side(leaf), y), leaf)
    side.model.train().requires_grad_(True)
    side.finish(
        torch.stack(
            [F.cross_entropy(side(x), y) for _ in range(2 if task == "trades" else 1)]
        ).sum()
    )


RUNS = {"ours": ours, "usual": usual, "bare": bare}


def measure(name: str, task: str, args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Alternate the three, each round in another order; a row of the table."""
    wait, model = torch.cuda.synchronize if device.type == "cuda" else int, create(name, INFO)
    x, y = (
        torch.rand(args.batch, *INFO.shape).to(device),
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
        for kind in [*RUNS, *RUNS][number % 3 : number % 3 + 3]:
            side = Side(model, args.precision, device)  # the same step from the same weights
            wait()
            began = time.perf_counter()
            RUNS[kind](side, x, *batch)
            wait()
            if number >= 0:
                seconds[kind].append(time.perf_counter() - began)
    for column, precision in (
        ("agree", "fp64"),
        ("agree_timed", args.precision),
    ):  # the counts are those of the last
        sides = {kind: Side(model, precision, device) for kind in RUNS}
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
    row["ours/usual"], row["ours/bare"] = zip(
        *((mine / theirs, mine / needed) for mine, theirs, needed in times), strict=True
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
    torch.manual_seed(0)
    with deterministic():
        rows = [
            measure(name, task, args, device)
            for name in args.models.split(",")
            for task in ("at", "trades")
        ]
    passes, ratios = ("forwards", "backwards", "weights"), ("ours/usual", "ours/bare")
    table = Table(
        "model",
        "task",
        "ms ours / usual / bare",
        *(f"{name} (range)" for name in ratios),
        *passes,
        "agree",
    )
    for row in rows:
        times = " / ".join(
            f"{1000 * statistics.median(spent):.1f}" for spent in row["seconds"].values()
        )
        spread = [
            f"{statistics.median(r):.3f} ({min(r):.3f}-{max(r):.3f})"
            for r in (row[name] for name in ratios)
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
