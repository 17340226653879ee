"""Whether a model's outputs are logits, by their values and by the layer that made them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

SUMS_TO_ONE = 1e-5
_SQUASHED = {"SoftmaxBackward0": "softmax", "SigmoidBackward0": "sigmoid"}
_STEPS = "Add Sub Rsub Mul Div Neg Pow Sqrt ToCopy Clone Squeeze Unsqueeze View UnsafeView Reshape Slice Index Alias Permute"
_PASSED = {
    f"{name}Backward{n}" for name in _STEPS.split() for n in (0, 1)
}  # from one entry to one entry, in autograd's names


def probabilities(outputs: Tensor, tolerance: float = SUMS_TO_ONE) -> tuple[str, str] | None:
    """What outputs [n,K] are that should be logits, and the layer that makes them so; None when they are no probabilities."""
    z = outputs.double()
    if z.shape[1] > 1 and len(z) and bool(torch.isfinite(z).all()):
        if bool((z >= -tolerance).all() & ((z.sum(1) - 1).abs() <= tolerance).all()):
            return "probabilities", "softmax"
        if bool((z.logsumexp(1).abs() <= tolerance).all()):
            return "log-probabilities", "log-softmax"
    return None


def squashed(outputs: Tensor) -> tuple[str, str] | None:
    """The same of outputs [n,K] with a graph that a softmax or sigmoid made, perhaps scaled; None where none is seen."""
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


def bounded(outputs: Tensor) -> tuple[str, str] | None:
    """The same of outputs [n,K] that are all in [0,1], as those of a sigmoid per class; similarities can be so too."""
    if (
        outputs.numel()
        and bool(((outputs >= 0) & (outputs <= 1)).all())
        and bool((outputs != outputs[:1]).any())
    ):
        return "all between 0 and 1", "sigmoid, or multiply similarities by their scale"
    return None
