"""Tables of schedules against torch's own: its cosine schedule, and steps of its Adam."""

from __future__ import annotations

import pytest
import torch

from robbench.attacks.schedules import BETA1, BETA2, TINY, corrections, cosine

CPU = torch.device("cpu")


def test_the_cosine_is_that_of_torch() -> None:
    """From the first value to the last, in 7 steps."""
    weight = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.5)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=7, eta_min=0.02)
    expected = []
    for _ in range(8):
        expected += schedule.get_last_lr()
        optimizer.step()
        schedule.step()
    assert cosine(0.5, 0.02, 7, CPU).tolist() == pytest.approx(expected)


def test_corrected_averages_make_the_steps_of_adam() -> None:
    """As torch.optim.Adam, with its own defaults."""
    torch.manual_seed(0)
    gradients = torch.randn(6, 5, dtype=torch.float64)
    weight = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([weight], lr=0.1)
    first, second = corrections(6, CPU)
    x = mean = square = torch.zeros(5, dtype=torch.float64)
    for k, g in enumerate(gradients):
        weight.grad = g
        optimizer.step()
        mean, square = BETA1 * mean + (1 - BETA1) * g, BETA2 * square + (1 - BETA2) * g.square()
        x = x - 0.1 * (mean / first[k]) / ((square / second[k]).sqrt() + TINY)
        torch.testing.assert_close(weight.detach(), x)
