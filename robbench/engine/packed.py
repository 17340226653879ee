"""Convolutions whose weights stay in the order that oneDNN's kernels read, for a frozen model.

Torch brings them into that order at every call, which for a few rows takes as long as the
arithmetic where channels are many and pixels few.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_input

LEAST = 1 << 16  # weights; fewer are reordered in next to no time


def pack(model: nn.Module) -> None:
    """Pack a model's large convolutions, in place; it has to compute in channels last on a CPU.

    Answers stay bit-equal, and so do gradients of inputs; of weights there are none any more.
    """
    for name, module in list(model.named_modules()):
        if _packs(module):
            with contextlib.suppress(RuntimeError, AttributeError):  # a processor without bfloat16
                model.set_submodule(name, Packed(module))


def _packs(module: nn.Module) -> bool:
    """Not of 1x1 weights, which lie in no order of their own: gradients would round otherwise."""
    return (
        type(module) is nn.Conv2d
        and module.groups == 1
        and min(module.kernel_size) > 1
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
        and module.weight.numel() >= LEAST
        and module.weight.dtype in (torch.float32, torch.bfloat16)
        and not module._forward_hooks
        and not module._forward_pre_hooks
    )


class Packed(nn.Module):
    """A convolution with packed weights. Raises RuntimeError where oneDNN cannot compute it."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias
        self.stride, self.dilation = [*convolution.stride], [*convolution.dilation]
        assert not isinstance(convolution.padding, str)  # see `_packs`
        self.padding = [*convolution.padding]
        self.ordered = self._in_order(self.weight.detach(), self.padding)
        # At stride 1 a gradient is a convolution of gradients, with the weights turned round.
        self.padding_back = [
            step * (size - 1) - pad
            for size, step, pad in zip(
                convolution.kernel_size, self.dilation, self.padding, strict=True
            )
        ]
        self.turned: Tensor | None = None
        if set(self.stride) == {1} and min(self.padding_back) >= 0:
            turned = self.weight.detach().flip(2, 3).transpose(0, 1)
            self.turned = self._in_order(turned, self.padding_back)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = _Convolution.apply(x, self)
        return y

    def values(self, x: Tensor) -> Tensor:
        """What the convolution gives."""
        return self._convolved(x, self.ordered, self.bias, self.padding)

    def gradients(self, shape: torch.Size, grad: Tensor) -> Tensor:
        """Of the inputs, of a shape, from those of the values."""
        if self.turned is not None:
            return self._convolved(grad, self.turned, None, self.padding_back)
        found: Tensor = conv2d_input(  # type: ignore[no-untyped-call]
            shape, self.weight, grad, self.stride, self.padding, self.dilation
        )
        return found

    def _in_order(self, weight: Tensor, padding: list[int]) -> Tensor:
        plain = weight.contiguous(memory_format=torch.channels_last).to_mkldnn()
        ordered: Tensor = torch._C._nn.mkldnn_reorder_conv2d_weight(
            plain, padding, self.stride, self.dilation, 1
        )
        return ordered

    def _convolved(
        self, x: Tensor, ordered: Tensor, bias: Tensor | None, padding: list[int]
    ) -> Tensor:
        y: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, ordered, bias, padding, self.stride, self.dilation, 1, "none", [], ""
        )
        return y


class _Convolution(torch.autograd.Function):
    """A packed convolution and its gradient of the inputs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Packed) -> Tensor:
        ctx.shape, ctx.layer = x.shape, layer
        return layer.values(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.layer.gradients(ctx.shape, grad), None
