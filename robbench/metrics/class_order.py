"""Whether a model's outputs are the classes in another order: seen in its confusion matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from robbench.metrics.input_form import ALPHA, GAIN, far_above_chance
from robbench.statistics.proportions import mcnemar_exact

FEWEST = 4  # samples of a class


def other_order(predicted: Tensor, y: Tensor, classes: int) -> tuple[int, ...] | None:
    """The output of each class, in order, where another order than 0, 1, ... clearly fits better.

    predicted: [n] outputs in [0,classes). y: [n] labels in [0,classes). The order that fits one
    half of the samples of each class is tried on the other half. None where it is not clearly
    better there, or a class has fewer than FEWEST samples.
    """
    counts = torch.bincount(y, minlength=classes)
    if int(counts.min()) < FEWEST:
        return None
    turn = torch.stack([(y[: n + 1] == label).sum() for n, label in enumerate(y)])
    first, second = turn % 2 == 1, turn % 2 == 0
    output = torch.tensor(_assigned(predicted[first], y[first], classes))
    before, after = predicted[second] == y[second], predicted[second] == output[y[second]]
    won, lost = int((after & ~before).sum()), int((before & ~after).sum())
    clear = won - lost >= GAIN * len(before) and mcnemar_exact(won, lost) <= ALPHA
    if not clear or not far_above_chance(after, y[second]):
        return None
    return _assigned(predicted, y, classes)


def _assigned(predicted: Tensor, y: Tensor, classes: int) -> tuple[int, ...]:
    """For each class the output of its own that agrees on most samples in total."""
    from scipy.optimize import linear_sum_assignment

    confusion = torch.bincount(y * classes + predicted, minlength=classes**2)
    _, columns = linear_sum_assignment(-confusion.reshape(classes, classes).numpy())
    return tuple(int(column) for column in columns)
