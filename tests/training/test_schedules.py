"""Learning-rate schedules at their ends and in between."""

from __future__ import annotations

import pytest
import torch

from robbench.training.schedules import SCHEDULES


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("constant", {0: 1, 0.5: 1, 1: 1}),
        ("cosine", {0: 1, 0.25: 0.5 + 0.5**1.5, 0.5: 0.5, 1: 0}),
        ("linear", {0: 1, 0.25: 0.75, 0.9: 0.1, 1: 0}),
        ("one-cycle", {0: 0, 0.15: 0.5, 0.3: 1, 0.65: 0.5, 1: 0}),
        ("cyclic", {0: 0, 0.25: 0.5, 0.5: 1, 0.9: 0.2, 1: 0}),
        ("piecewise", {0: 1, 0.4999: 1, 0.5: 0.1, 0.7499: 0.1, 0.75: 0.01, 1: 0.01}),
    ],
)
def test_schedules_at_their_ends(name, values):
    """Each schedule has the values of its definition at its ends and corners."""
    for progress, value in values.items():
        assert SCHEDULES[name](progress) == pytest.approx(value, abs=1e-9), (name, progress)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_stay_in_the_unit_interval(name):
    """No schedule leaves [0,1] or jumps back up after its highest point."""
    values = [SCHEDULES[name](i / 200) for i in range(201)]
    top = values.index(max(values))
    assert 0 <= min(values) <= max(values) <= 1
    assert all(a >= b for a, b in zip(values[top:], values[top + 1 :], strict=False))


def test_cyclic_is_torchs_cyclic_rate_with_its_peak_in_the_middle():
    """CyclicLR of as many steps up as down, as fast adversarial training has it."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.2)
    theirs = torch.optim.lr_scheduler.CyclicLR(
        optimizer, base_lr=0.0, max_lr=0.2, step_size_up=15, step_size_down=15
    )
    for step in range(30):
        assert 0.2 * SCHEDULES["cyclic"](step / 30) == pytest.approx(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()
