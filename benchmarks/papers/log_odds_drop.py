"""I-SCE's handicap s against what an attack does: the log-odds m, and their drop D at x'.

    python benchmarks/papers/log_odds_drop.py [--out runs] [--data-dir DIR]

The additive form protects where s is at least D, and a sample stands where m is above D. Models are
those of i-sce.toml, trained on clean MNIST; x' is the last point of PGD-50 on the log-odds, which
does not stop when it succeeds. Writes results/log-odds-drop.parquet: a row per loss, seed and
budget, over the test samples that are classified right. About a minute a model on one CPU core; a
model that is there is not trained again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from page import HERE, RESULTS, here
from torch import Tensor, nn

import robbench
from robbench.core.device import deterministic
from robbench.data.load import load
from robbench.objectives import soft_margins
from robbench.tasks.model_folder import read_model

LOSSES = [
    *(f"i-sce:s={s}" for s in (0, 1, 5, 20, 50, 100, 200)),
    *(f"i-sce:space=cosine,s={s}" for s in (0, 5, 15)),
]
BUDGETS = (0.1, 0.2)
SAMPLES = 500
STEPS = 50
CPU = torch.device("cpu")


def attacked(model: nn.Module, x: Tensor, y: Tensor, eps: float, seed: int) -> Tensor:
    """The points [B,C,H,W] of PGD on the log-odds, from random ones by all steps of eps / 10."""
    draws = torch.Generator().manual_seed(seed)
    point = (x + eps * (2 * torch.rand(x.shape, generator=draws) - 1)).clamp(0, 1)
    for _ in range(STEPS):
        point.requires_grad_()
        (slope,) = torch.autograd.grad(soft_margins(model(point), y).sum(), point)
        moved = point.detach() - eps / 10 * slope.sign()
        point = torch.minimum(torch.maximum(moved, x - eps), x + eps).clamp(0, 1)
    return point.detach()


def main(args: argparse.Namespace) -> None:
    """Train what is missing, and measure each model at each budget."""
    done = robbench.sweep(
        {"loss": LOSSES},
        file=HERE / "i-sce.toml",
        name="log-odds-drop",
        steps="train",
        out=args.out,
        data_dir=args.data_dir,
        progress=print,
    )
    if done.failed:
        raise SystemExit(f"error: {done}")
    where = here()
    rows = []
    for task in done.tasks.itertuples():
        settings = json.loads(str(task.settings))
        model, trained = read_model(args.out / "models" / str(task.model), None, CPU)
        split = load(trained["config"]["data"], "test", data_dir=args.data_dir, limit=SAMPLES)
        images = split.pixels(slice(None))
        print(f"attack {task.model}", flush=True)
        model.eval()
        with torch.no_grad():
            logits = model(images)
        right = logits.argmax(1) == split.labels
        x, y = images[right], split.labels[right]
        margin = soft_margins(logits[right], y)
        for eps in BUDGETS:
            with deterministic():  # and without subnormal numbers, which are slow
                point = attacked(model, x, y, eps, seed=0)
            with torch.no_grad():
                drop = margin - soft_margins(model(point), y)
            rows.append(
                {
                    "loss": settings["loss"],
                    "train_seed": settings["seed"],
                    "threat": f"linf:{eps}",
                    "n_samples": len(y),
                    "margin": margin.mean().item(),
                    "drop": drop.mean().item(),
                    "margin_over_drop": (margin / drop).median().item(),
                    **where,
                }
            )
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "log-odds-drop.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path, compression="zstd")
    print(f"wrote {path}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--data-dir", type=Path)
    main(parser.parse_args())
