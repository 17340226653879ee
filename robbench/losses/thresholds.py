"""Thresholds for differential training (losses/differential.py), from training scores.

    extreme     b = -(min_i s_i + max_j s_j) / 2: the maximum-margin threshold of the linear theory
    quantile    the same with quantiles in place of the extremes, for scores that overlap
    mean        the same with the means of the classes
    accuracy    most training samples right; among equals the middle of the widest gap

For K > 2 classes (our extension) the first three become: biases b that maximise the smallest b_a -
b_c + g_ac, where g_ac is the extreme, quantile or mean of s_a - s_c over class a: a linear
programme, whose solution for two classes is the formula above.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Rule = Literal["accuracy", "extreme", "quantile", "mean"]
_SWEEPS = 20  # over the classes; accuracy cannot fall in a sweep and soon stops rising


def threshold(high: Tensor, low: Tensor, rule: Rule, quantile: float = 0.05) -> float:
    """The bias b that makes s + b > 0 mean class 1.

    From training scores of class 1, `high` [n], and class 0, `low` [m]; 0 where one is empty.
    """
    if not len(high) or not len(low):
        return 0.0
    if rule == "mean":
        return float(-(high.mean() + low.mean()) / 2)
    if rule in ("extreme", "quantile"):
        beyond = quantile if rule == "quantile" else 0.0
        return float(-(high.quantile(beyond) + low.quantile(1 - beyond)) / 2)
    scores, order = torch.cat([high, low]).sort()
    is_high = torch.cat([torch.ones_like(high), torch.zeros_like(low)])[order]
    # Cut c is below score c; the first and last have all scores on one side, at a distance of 1
    # (any would do).
    right = F.pad((1 - is_high).cumsum(0), (1, 0)) + F.pad(
        is_high.flip(0).cumsum(0).flip(0), (0, 1)
    )
    edges = torch.cat([scores[:1] - 2, scores, scores[-1:] + 2])
    gap, middle = edges.diff(), (edges[1:] + edges[:-1]) / 2
    gap[0] = gap[-1] = torch.finfo(gap.dtype).tiny  # only where nothing inside is as good
    possible = torch.where(gap > 0, right, -1)  # equal scores cannot be cut apart
    return float(-middle[torch.where(possible == possible.max(), gap, -1).argmax()])


def biases(scores: Tensor, labels: Tensor, rule: Rule, quantile: float = 0.05) -> Tensor:
    """[K] the biases b, of sum 0, that make argmax_k (s_k + b_k) the class.

    From training scores [N,K] and labels [N].
    """
    if rule == "accuracy":
        return _most_right(scores.double(), labels)
    classes = scores.shape[1]
    beyond = quantile if rule == "quantile" else 0.0
    # infinite: a class without samples sets no limit
    gaps = torch.full((classes, classes), torch.inf, dtype=torch.float64)
    for a in sorted(set(labels.tolist())):
        own = scores[labels == a].double()
        lead = own[:, a : a + 1] - own
        gaps[a] = lead.mean(0) if rule == "mean" else lead.quantile(beyond, 0)
    return _balanced(gaps)


def _balanced(gaps: Tensor) -> Tensor:
    """[K] the b that maximise the smallest b_a - b_c + gaps_ac over a != c."""
    from scipy.optimize import linprog

    classes = len(gaps)
    limits = [
        (a, c) for a in range(classes) for c in range(classes) if a != c and gaps[a, c].isfinite()
    ]
    left = torch.zeros(len(limits), classes + 1, dtype=torch.float64)  # t - b_a + b_c <= gaps_ac
    for row, (a, c) in zip(left, limits, strict=True):
        row[a], row[c], row[-1] = -1, 1, 1
    right = [float(gaps[a, c]) for a, c in limits]
    goal = [0.0] * classes + [-1.0]
    found = linprog(
        goal,
        left.numpy(),
        right,
        A_eq=[[1.0] * classes + [0.0]],
        b_eq=[0.0],
        bounds=[(None, None)] * (classes + 1),
    )
    if found.x is None:  # unbounded: samples of one class only
        return torch.zeros(classes, dtype=torch.float64)
    return torch.as_tensor(found.x[:-1], dtype=torch.float64)


def _most_right(scores: Tensor, labels: Tensor) -> Tensor:
    """[K] from `mean`, each bias in turn moved to where most are right, until none moves."""
    found = biases(scores, labels, "mean").to(scores.device)
    for _ in range(_SWEEPS):
        before = found.clone()
        for k in sorted(set(labels.tolist())):
            rest = (scores + found).index_fill(
                1, torch.tensor([k], device=scores.device), -torch.inf
            )
            lead = scores[:, k] - rest.amax(1)
            own = labels == k
            contested = ~own & (rest.argmax(1) == labels)  # others are wrong whatever b_k is
            if contested.any():
                found[k] = threshold(lead[own], lead[contested], "accuracy")
        found -= found.mean()
        if _right(scores + found, labels) <= _right(scores + before, labels):
            return before
    return found


def _right(scores: Tensor, labels: Tensor) -> int:
    return int((scores.argmax(1) == labels).sum())
