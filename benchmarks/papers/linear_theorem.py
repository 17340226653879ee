"""The linear theorem of differential training: margins over the SVM's, by a common coordinate.

    python benchmarks/papers/linear_theorem.py

Twelve points of two classes in the plane, 1.5 off the origin, get a third coordinate D that all of
them share. Gradient descent on a linear score ends, under cross-entropy with a bias, below the
largest margin, and under differential training at it (Nar et al. 2019, arXiv:1901.08360). Writes
results/linear.parquet: a row per D, seed and loss. About a minute.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from page import RESULTS, here
from sklearn.svm import SVC

from robbench.losses.base import Loss
from robbench.losses.cross_entropy import CrossEntropy
from robbench.losses.differential import Differential
from robbench.losses.thresholds import threshold
from robbench.models.base import Output

COMMON = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
SEEDS = (0, 1, 2)
OFFSET = 1.5
STEPS = 20_000

Points = NDArray[np.float64]


def plane(seed: int) -> tuple[Points, Points]:
    """12 points [12,2] and their signs: at least 1 between the classes, across a random line."""
    random = np.random.default_rng(seed)
    across = random.normal(size=2)
    across /= np.linalg.norm(across)
    along = np.array([-across[1], across[0]])
    signs = np.array([1.0, -1.0] * 6)
    far = OFFSET + signs * (0.5 + random.exponential(0.3, 12))
    return far[:, None] * across + random.normal(size=(12, 1)) * along, signs


def descend(loss: Loss, x: Points, signs: Points, bias: bool) -> tuple[Points, float]:
    """Weights and bias after gradient descent from zero; steps grow as the loss falls.

    It stops before float64 rounds the loss to zero.
    """
    points, y = torch.tensor(x), torch.tensor(signs > 0).long()
    rate = 2 / (1 + (x**2).sum(1).max())
    w = torch.zeros(x.shape[1], dtype=torch.float64, requires_grad=True)
    b = torch.zeros(1, dtype=torch.float64, requires_grad=bias)
    for _ in range(STEPS):
        score = points @ w + b
        logits = torch.stack([-score / 2, score / 2], 1)
        step = SimpleNamespace(out=Output(logits, logits), y=y)
        value = loss(step).mean()  # type: ignore[arg-type]
        if float(value.detach()) < 1e-13:
            break
        grads = torch.autograd.grad(value, [w, b] if bias else [w])
        with torch.no_grad():
            for part, grad in zip((w, b), grads, strict=False):
                part -= rate * grad / value
    return w.detach().numpy(), b.item()


def margin(x: Points, signs: Points, w: Points, b: float) -> float:
    """Distance of the nearest point to the boundary, negative on the wrong side."""
    return float((signs * (x @ w + b)).min() / np.linalg.norm(w))


def main() -> None:
    """Measure every D and seed."""
    where = here()
    rows = []
    for common in COMMON:
        for seed in SEEDS:
            points, signs = plane(seed)
            x = np.c_[points, np.full(12, common)]
            svm = SVC(kernel="linear", C=1e6, tol=1e-6).fit(x, signs)
            best = 1 / np.linalg.norm(svm.coef_)
            w, b = descend(CrossEntropy(), x, signs, bias=True)
            found = {"cross-entropy": margin(x, signs, w, b)}
            w, _ = descend(Differential(form="logistic"), x, signs, bias=False)
            scores = torch.tensor(x @ w)
            b = threshold(scores[signs > 0], scores[signs < 0], "extreme")
            found["differential:form=logistic"] = margin(x, signs, w, b)
            for loss, value in found.items():
                rows.append(
                    {"common": common, "train_seed": seed, "loss": loss}
                    | {"margin": value, "over_svm": value / best, **where}
                )
    RESULTS.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), RESULTS / "linear.parquet", compression="zstd")
    print(f"wrote {RESULTS / 'linear.parquet'}")


if __name__ == "__main__":
    main()
