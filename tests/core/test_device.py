"""Devices are found by name, or loudly not at all; deterministic settings are put back."""

from __future__ import annotations

import contextlib

import pytest
import torch

from robbench.core.device import deterministic, find_device, placed
from robbench.core.errors import UserError

FLAGS = [
    (torch.backends.cuda.matmul, "allow_tf32"),
    (torch.backends.cudnn, "allow_tf32"),
    (torch.backends.cudnn, "deterministic"),
    (torch.backends.cudnn, "benchmark"),
]


@pytest.mark.parametrize("name", ["gpu", "", "cuda:999", "cuda:x", "meta", "cpu cpu", "xpu"])
def test_a_device_that_is_not_there_is_an_error(name: str) -> None:
    """A named device never falls back to another: one line that says what may be named."""
    with pytest.raises(UserError) as caught:
        find_device(name)
    assert len(str(caught.value).splitlines()) == 1
    assert "cpu" in str(caught.value)


def test_cpu_and_auto() -> None:
    """`cpu` is the CPU, and `auto` is some device that can be used."""
    assert find_device("cpu").type == "cpu"
    assert torch.zeros(1, device=find_device("auto")).item() == 0


def test_deterministic_puts_back_what_it_changed() -> None:
    """TF32 is off and cuDNN deterministic inside, also nested; restored after an exception too."""
    before = [getattr(owner, name) for owner, name in FLAGS]
    with contextlib.suppress(ZeroDivisionError), deterministic():
        assert [getattr(owner, name) for owner, name in FLAGS] == [False, False, True, False]
        with deterministic():
            pass
        assert [getattr(owner, name) for owner, name in FLAGS] == [False, False, True, False]
        raise ZeroDivisionError
    assert [getattr(owner, name) for owner, name in FLAGS] == before


def test_a_model_is_placed_where_it_is_unless_a_device_is_named() -> None:
    """None leaves it; a model on several devices is not moved."""
    net = torch.nn.Linear(2, 2)
    with placed(net, None) as here, placed(net, "cpu") as there:
        assert here == there == torch.device("cpu")
    parts = torch.nn.Sequential(net, torch.nn.Linear(2, 2, device="meta"))
    with pytest.raises(UserError, match="is on 2 devices"), placed(parts, "cpu"):
        pass
    with placed(torch.nn.Flatten(), None) as here:
        assert here == torch.device("cpu")
