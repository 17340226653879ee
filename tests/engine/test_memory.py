"""Memory of a forward and a backward, against the sizes of the tensors involved."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from robbench.core.freeze import frozen
from robbench.engine.memory import measure_memory

ROWS = 8


def test_counted_from_tensors() -> None:
    """Two linear layers and a sigmoid: its output is kept, and the first layer is the largest."""
    model = nn.Sequential(nn.Linear(100, 50), nn.Sigmoid(), nn.Linear(50, 10))
    with frozen(model):
        found = measure_memory(model, torch.rand(ROWS, 100))
    assert found.counted
    assert found.backward == 50 * 4  # frozen weights: only the sigmoid keeps something
    assert found.forward == (100 + 50) * 4


def test_what_is_kept_twice_counts_once() -> None:
    """A tensor that two operations keep, and inputs that an operation keeps."""

    class Squares(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = x.exp()
            return y * y + x * x

    with frozen(model := Squares()):
        found = measure_memory(model, torch.rand(ROWS, 5))
    assert (found.forward, found.backward) == (15 * 4 - 20, 5 * 4)


def test_a_script() -> None:
    """It takes no hooks: what it keeps is known, its largest layer is that of the whole."""
    plain = nn.Sequential(nn.Linear(100, 50), nn.Sigmoid(), nn.Linear(50, 10))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the format is deprecated
        model = torch.jit.trace(plain, torch.rand(ROWS, 100))
    with frozen(model):
        found = measure_memory(model, torch.rand(ROWS, 100))
    assert (found.forward, found.backward) == (None, 50 * 4)


def test_without_gradient() -> None:
    """A model that keeps nothing."""

    class Steps(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.detach().round()

    with frozen(model := Steps()):
        assert measure_memory(model, torch.rand(ROWS, 5)).backward == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_the_allocators_peak() -> None:
    """At least what autograd keeps: 4 MB for each row."""
    model = nn.Sequential(nn.Linear(16, 1_000_000), nn.Sigmoid(), nn.Linear(1_000_000, 2)).cuda()
    with frozen(model):
        found = measure_memory(model, torch.rand(ROWS, 16).cuda())
    assert not found.counted
    assert found.forward is not None
    assert found.backward >= found.forward >= 4e6
