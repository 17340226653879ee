"""Subnormal numbers are zero for a while, in every thread, and as before afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from robbench.core import subnormals
from robbench.core.device import deterministic
from robbench.core.subnormals import flushed, flushing


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    threads = torch.get_num_threads()
    able = torch.set_flush_denormal(True)
    torch.set_flush_denormal(False)
    if not able:
        pytest.skip("this processor cannot")
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_all_threads_or_none_take_subnormals_as_zero(threads: int) -> None:
    """With one thread always; where threads cannot be set, nothing changes."""
    torch.set_num_threads(threads)
    small = torch.full((1 << 19,), 1e-30)
    assert int((small * 1e-10 == 0).sum()) == 0
    with flushed() as done:
        assert done or threads > 1
        assert int((small * 1e-10 == 0).sum()) == (len(small) if done else 0)
    assert int((small * 1e-10 == 0).sum()) == 0


def test_threads_that_cannot_be_reached_switch_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the call: the measurement finds threads with subnormals, and nothing changes."""
    torch.set_num_threads(2)
    monkeypatch.setattr(subnormals, "_parallel", lambda: None)
    assert not flushing()
    with flushed() as done:
        assert not done
        assert float(torch.tensor(1e-30) * 1e-10) > 0
    assert not flushing()


def test_a_setting_of_the_users_own_stays() -> None:
    """On before, on afterwards; also when it is nested."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    with flushed(), flushed():
        assert flushing()
    assert flushing()
    torch.set_flush_denormal(False)


def test_runs_take_subnormals_as_zero_with_the_same_gradients() -> None:
    """Backward too; what is above the limit keeps all its bits."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, x = (
        nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 4), nn.Softmax(1)),
        torch.rand(5, 8),
    )

    def gradient(scale: float) -> torch.Tensor:
        leaf = x.clone().requires_grad_()
        (model(leaf).square().sum() * scale).backward()
        assert leaf.grad is not None
        return leaf.grad

    usual, small = gradient(1.0), gradient(1e-39)
    with deterministic():
        assert torch.equal(gradient(1.0), usual)
        assert not gradient(1e-39).any()
    assert small.any()
    assert torch.equal(gradient(1e-39), small)
