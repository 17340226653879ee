"""A linear model of two features, whose answers are known in closed form."""

import numpy as np
import torch
from torch import nn

from robbench.data.base import Split
from robbench.tasks.verify.points import look_again
from robbench.threat.model import parse_threat

# Class 1 where the first feature is above 0.5; the margin of label 0 is 1 - 2 x.
X = torch.tensor([[0.40, 0.5], [0.45, 0.5], [0.30, 0.5], [0.70, 0.5]])
LABELS = torch.zeros(4, dtype=torch.int64)  # the last is wrong without an attack
IDS = torch.tensor([10, 11, 12, 13])


class Line(nn.Module):
    """Logits (0.5 - x, x - 0.5) of the first feature x, and noise where it is random."""

    def __init__(self, noise=0.0):
        super().__init__()
        self.noise = noise
        self.interface = None

    def forward(self, x):
        z = x[:, 0] - 0.5 + self.noise * torch.randn(len(x))
        return torch.stack([-z, z], 1)


SPLIT = Split(X, LABELS, IDS, ("0", "1"), "line", "test")


def row(n, adversarial, size, **more):
    """The row of the n-th sample, its worst point along the first feature."""
    own = {"run_id": "r", "sample_id": 10 + n, "adversarial": adversarial, "clean_correct": n < 3}
    x = float(X[n, 0])
    clean = {"clean_pred": int(n == 3), "clean_margin": 1 - 2 * x}
    worst = {"adv_pred": int(adversarial), "adv_margin": 1 - 2 * (x + size)}
    sizes = {"dist_linf": size, "dist_l2": size, "dist_l1": size, "dist_l0": 1, "dist_l0px": 1}
    return own | clean | worst | sizes | more


ROWS = [row(0, True, 0.15), row(1, True, 0.15), row(2, False, 0.15), row(3, True, 0.0)]


def point(n, *delta, adversarial=True, run_id="r"):
    """The stored point of the n-th sample, in float32."""
    bytes_ = np.array(delta, "<f4").tobytes()
    own = {"run_id": run_id, "sample_id": 10 + n, "adversarial": adversarial}
    return own | {"encoding": "f4", "delta": bytes_}


def look(points, rows=ROWS, threat="linf:0.15", model=None, split=SPLIT):
    """What is seen of the points."""
    return look_again(
        model or Line(), split, parse_threat(threat)[0], rows, points, lambda share, text: None
    )
