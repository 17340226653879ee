"""Whether a model's outputs are logits, by their values and by the layer that made them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from robbench.core.errors import UserError
from robbench.models.outputs.options import Scale

SUMS_TO_ONE = 1e-4  # rounding may bring a sum this far from 1
_LOOSE = 1e-2  # the same, of a model in half precision
_SQUASHED = {"SoftmaxBackward0": "softmax", "SigmoidBackward0": "sigmoid"}
_STEPS = (
    "Add Sub Rsub Mul Div Neg Pow Sqrt ToCopy Clone Squeeze Unsqueeze View UnsafeView Reshape "
    "Slice Index Alias Permute"
)
# What maps one entry to one entry, in autograd's names.
_PASSED = {f"{name}Backward{n}" for name in _STEPS.split() for n in (0, 1)}


def probabilities(outputs: Tensor) -> tuple[str, str] | None:
    """What outputs [n,K] are instead of logits, and the layer that makes them so; None = logits."""
    z = outputs.double()
    if z.shape[1] > 1 and len(z) and bool(torch.isfinite(z).all()):
        if bool((z >= -SUMS_TO_ONE).all() & ((z.sum(1) - 1).abs() <= SUMS_TO_ONE).all()):
            return "probabilities", "softmax"
        if bool((z.logsumexp(1).abs() <= SUMS_TO_ONE).all()):
            return "log-probabilities", "log-softmax"
    return None


def squashed(outputs: Tensor) -> tuple[str, str] | None:
    """As `probabilities`, from the graph of outputs [n,K]: a softmax or sigmoid made them."""
    layer = _layer(outputs.grad_fn)
    return None if layer is None else (f"made by a {layer}", layer)


def _layer(node: Any) -> str | None:
    while node is not None:
        if layer := _SQUASHED.get(node.name()):
            return layer
        before = [other for other, _ in node.next_functions if other is not None]
        if node.name() == "CatBackward0":
            layers = {_layer(part) for part in before}
            return layers.pop() if len(layers) == 1 else None
        if node.name() not in _PASSED or len(before) != 1:
            return None
        node = before[0]
    return None


def as_logits(z: Tensor, scale: Scale) -> Tensor:
    """Logits of outputs of any shape, but for a constant that all of a row share."""
    if scale not in ("probs", "sigmoid"):
        return z
    p = z if z.dtype == torch.float64 else z.float()
    known = torch.finfo(p.dtype)
    logs = p.clamp(min=known.tiny).log()
    if scale == "probs":
        return logs
    return logs - (1 - p).clamp(min=known.eps / 2).log()  # the smallest distance from 1 below it


def one_hot(named: Tensor, width: int) -> Tensor:
    """Logits [B,width] of classes [B] that were named: 1/2 for these, -1/2 for the others."""
    wrong = (named < 0) | (named >= width) | (named != named.round())
    if bool(wrong.any()):
        raise UserError(
            f"it names class {named[wrong][0].item():g}; there are {width} classes, from 0 (in "
            "Python, classes=N says how many)"
        )
    return nn.functional.one_hot(named.long(), width).float() - 0.5


def require_scale(z: Tensor, scale: Scale) -> None:
    """Raise UserError where outputs [n,K], or one for two classes [n], cannot be of this scale."""
    rows = z.double().reshape(len(z), -1)
    sums = {"probs": rows.sum(1), "log-probs": rows.exp().sum(1)}.get(scale)
    between = bool(((rows >= -_LOOSE) & (rows <= 1 + _LOOSE)).all())
    if scale in ("probs", "sigmoid") and not between:
        raise UserError(f"outputs={scale}: its outputs should be between 0 and 1")
    if sums is not None and not bool(((sums - 1).abs() <= _LOOSE).all()):
        instead = "; those of a sigmoid for each class are outputs=sigmoid" * between
        raise UserError(
            f"outputs={scale}: its outputs are no {scale.replace('probs', 'probabilities')}, they "
            f"add up to {float(sums[0]):.4g}{instead}"
        )


def bounded(outputs: Tensor) -> tuple[str, str] | None:
    """As `probabilities`, for outputs [n,K] all in [0,1]: of a sigmoid, or similarities."""
    if (
        outputs.numel()
        and bool(((outputs >= 0) & (outputs <= 1)).all())
        and bool((outputs != outputs[:1]).any())
    ):
        return "all between 0 and 1", "sigmoid, or multiply similarities by their scale"
    return None
