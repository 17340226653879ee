"""Packed convolutions against torch's own."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robbench.core.freeze import frozen
from robbench.engine import packed
from robbench.engine.fast_model import fast_model
from robbench.engine.packed import Packed, pack

pytestmark = pytest.mark.usefixtures("one_thread")


def _images(n: int, channels: int, dtype: torch.dtype = torch.float32) -> Tensor:
    x = torch.randn(n, channels, 9, 11, generator=torch.Generator().manual_seed(n))
    return x.to(dtype).contiguous(memory_format=torch.channels_last)


def _answers(layer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    leaf = x.detach().requires_grad_()
    y = layer(leaf)
    weights = torch.linspace(-1, 1, y.numel()).cos().reshape(y.shape).to(y)
    return y.detach(), torch.autograd.grad(y, leaf, weights)[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": 3, "padding": 1, "bias": False},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": (3, 5), "padding": (0, 3)},
        {"kernel_size": 2, "padding": 2},
        {"kernel_size": 3, "dilation": 2, "padding": 1},
        {"kernel_size": 4, "stride": (1, 3)},
    ],
    ids=str,
)
def test_values_and_gradients_are_those_of_the_convolution(
    options: dict[str, Any], dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(16, 24, **options).to(dtype, memory_format=torch.channels_last)
    layer.requires_grad_(False)
    try:
        other = Packed(layer)
    except RuntimeError:
        pytest.skip("this processor has no bfloat16")
    for n in (1, 4, 7):
        x = _images(n, 16, dtype)
        rounding = 1e-5 if dtype == torch.float32 else 2e-2
        for mine, theirs in zip(_answers(other, x), _answers(layer, x), strict=True):
            assert mine.dtype == dtype
            assert mine.shape == theirs.shape
            torch.testing.assert_close(mine, theirs, rtol=rounding, atol=rounding)
        with torch.no_grad():
            values = other(x)
        assert torch.equal(values, _answers(other, x)[0])


@pytest.fixture
def all_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every convolution counts as a large one."""
    monkeypatch.setattr(packed, "LEAST", 1)


class Padded(nn.Conv2d):
    """A convolution with a forward of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + 1)


def _hooked() -> nn.Module:
    layer = nn.Conv2d(4, 4, 3)
    layer.register_forward_hook(lambda module, inputs, y: 2 * y)
    return layer


@pytest.mark.usefixtures("all_large")
@pytest.mark.parametrize(
    ("layer", "packs"),
    [
        (nn.Conv2d(4, 4, 3), True),
        (nn.Conv2d(4, 4, 1), False),
        (nn.Conv2d(4, 4, 3, groups=2), False),
        (nn.Conv2d(4, 4, 3, padding="same"), False),
        (nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), False),
        (nn.Conv2d(4, 4, 3).double(), False),
        (nn.Conv1d(4, 4, 3), False),
        (Padded(4, 4, 3), False),
        (_hooked(), False),
    ],
    ids=str,
)
def test_which_layers_are_packed(layer: nn.Module, packs: bool) -> None:
    model = nn.Sequential(nn.Sequential(layer)).requires_grad_(False)
    pack(model)
    assert isinstance(model[0][0], Packed) == packs
    assert packs or model[0][0] is layer


@pytest.mark.usefixtures("all_large")
def test_what_onednn_cannot_compute_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Tensor:
        raise RuntimeError("bf16 path needs the cpu support avx512bw")

    monkeypatch.setattr(torch._C._nn, "mkldnn_reorder_conv2d_weight", refuse)
    model = nn.Sequential(nn.Conv2d(4, 4, 3))
    pack(model)
    assert type(model[0]) is nn.Conv2d


def test_small_layers_are_not_worth_it() -> None:
    model = nn.Sequential(nn.Conv2d(16, 16, 3), nn.Conv2d(128, 128, 3))
    pack(model)
    assert [type(layer) for layer in model] == [nn.Conv2d, Packed]


@pytest.mark.usefixtures("all_large")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp64"])
def test_a_fast_copy_is_packed_and_the_model_is_not(precision: str) -> None:
    """With as many layers whose weights oneDNN knows, but the first in bfloat16, which has a hook.

    A copy in float64 stays as it is.
    """
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 8, 3, stride=2),
        nn.BatchNorm2d(8),
        nn.Flatten(),
        nn.Linear(8 * 4 * 5, 5),
    ).eval()
    plain = copy.deepcopy(model)
    x = torch.rand(8, 3, 9, 11)
    with frozen(model):
        fast = fast_model(model, x, precision=precision, compiled=False, tile=32).model
        counts = sum(isinstance(layer, Packed) for layer in fast.modules())
        assert counts == {"fp32": 2, "bf16": 1, "fp64": 0}[precision]
        for mine, theirs in zip(_answers(fast, x), _answers(plain, x), strict=True):
            rounding = 5e-2 if precision == "bf16" else 1e-4
            torch.testing.assert_close(mine.float(), theirs, rtol=rounding, atol=rounding)
    assert [type(layer) for layer in model] == [type(layer) for layer in plain]
