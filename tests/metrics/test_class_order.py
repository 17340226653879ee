"""Outputs in another order are found in the confusion matrix, and only there."""

from __future__ import annotations

import pytest
import torch

from robbench.metrics.class_order import other_order

LABELS = torch.arange(120) % 10


def answers(order: tuple[int, ...], wrong: float = 0.1) -> torch.Tensor:
    """What a model answers whose output `order[k]` is class k, wrong on a share of the samples."""
    generator = torch.Generator().manual_seed(0)
    right = torch.tensor(order)[LABELS]
    other = torch.randint(len(order), right.shape, generator=generator)
    return torch.where(torch.rand(right.shape, generator=generator) < wrong, other, right)


@pytest.mark.parametrize(
    "order",
    [(1, 0, 2, 3, 4, 5, 6, 7, 8, 9), (9, 8, 7, 6, 5, 4, 3, 2, 1, 0), (*range(1, 10), 0)],
    ids=["two", "reversed", "shifted"],
)
def test_another_order(order: tuple[int, ...]) -> None:
    """The output of each class, although some answers are wrong."""
    assert other_order(answers(order), LABELS, 10) == order


def test_two_classes() -> None:
    """Two classes that are exchanged."""
    y = torch.arange(40) % 2
    assert other_order(1 - y, y, 2) == (1, 0)


def test_the_right_order() -> None:
    """Good, weak and perfect models: nothing."""
    for wrong in (0.0, 0.3, 0.6):
        assert other_order(answers(tuple(range(10)), wrong), LABELS, 10) is None


@pytest.mark.parametrize("seed", range(20))
def test_random_answers(seed: int) -> None:
    """An order that fits random answers does not fit the other half of the samples."""
    predicted = torch.randint(10, (120,), generator=torch.Generator().manual_seed(seed))
    assert other_order(predicted, LABELS, 10) is None


def test_too_few_samples() -> None:
    """Three samples of a class can be fitted by chance."""
    y = torch.arange(9) % 3
    assert other_order((y + 1) % 3, y, 3) is None
