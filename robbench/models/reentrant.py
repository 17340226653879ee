"""Reentrant activation checkpoints in foreign models, which `torch.autograd.grad` refuses."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch.utils.checkpoint
from torch import Tensor


def has_reentrant_checkpoint(outputs: Tensor) -> bool:
    """Whether such a checkpoint is in the graph of some outputs."""
    waiting, seen = [outputs.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        if node.name() == "CheckpointFunctionBackward":
            return True
        seen.add(node)
        waiting += [other for other, _ in node.next_functions]
    return False


class _NotReentrant:
    @staticmethod
    def apply(function: Callable[..., Any], preserve: bool, *args: Any) -> Any:
        return torch.utils.checkpoint.checkpoint(
            function, *args, use_reentrant=False, preserve_rng_state=preserve
        )


@contextlib.contextmanager
def without_reentrant() -> Iterator[None]:
    """Inside, `checkpoint(..., use_reentrant=True)` acts as False: same values and gradients."""
    before = torch.utils.checkpoint.CheckpointFunction
    torch.utils.checkpoint.CheckpointFunction = _NotReentrant  # type: ignore[assignment,misc]
    try:
        yield
    finally:
        torch.utils.checkpoint.CheckpointFunction = before  # type: ignore[misc]
