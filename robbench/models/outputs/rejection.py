"""Models whose last output, beyond the classes, means "no answer"."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Rejection(torch.autograd.Function):
    """Outputs [B,K+1] to logits [B,K]: NaN (no answer) in rows whose last output is the largest.

    What is NaN has no gradient. In its place a rejected row gets that of z_(1) + z_(2) - 2 z_K, the
    two largest logits against the rejection, so that an attack that climbs finds out again.
    """

    @staticmethod
    def forward(ctx: Any, outputs: Tensor) -> Tensor:
        """The logits."""
        logits, last = outputs[:, :-1], outputs[:, -1:]
        rejected = last >= logits.amax(1, keepdim=True)
        ctx.save_for_backward(rejected, logits.topk(2, 1).indices)
        return logits.masked_fill(rejected, torch.nan)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        """That of the logits where they are answers or it is finite."""
        rejected, top = ctx.saved_tensors
        grad = torch.cat([grads[0], torch.zeros_like(grads[0][:, :1])], 1)
        out = torch.zeros_like(grad).scatter(1, top, 1.0)
        out[:, -1] = -2.0
        return torch.where(rejected & ~torch.isfinite(grad).all(1, keepdim=True), out, grad)
