"""How much memory a forward and a backward of a model take, beyond its weights.

On CUDA the allocator says it. On other devices no allocator can be asked, and the process's memory
moves for other reasons: there a forward is taken for its largest layer, and a backward for what
autograd keeps for it, both counted from the tensors themselves.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.jit import ScriptModule


class Memory(NamedTuple):
    """Bytes per row of a forward, and of a forward with the backward to its inputs.

    forward: None where it is not known. counted: as on a CPU; otherwise the allocator's peak.
    """

    forward: float | None
    backward: float
    counted: bool


def measure_memory(model: nn.Module, x: Tensor) -> Memory:
    """Of a frozen model on its device for inputs x [n,*], the inputs themselves left out."""
    if x.device.type == "cuda":
        alone, both = (_peak(model, x, grad=grad) / len(x) for grad in (False, True))
        return Memory(alone, both, counted=False)
    layer = _largest_layer(model, x)
    forward = None if layer is None else layer / len(x)
    return Memory(forward, _saved(model, x) / len(x), counted=True)


def _peak(model: nn.Module, x: Tensor, *, grad: bool) -> int:
    torch.cuda.synchronize(x.device)
    torch.cuda.reset_peak_memory_stats(x.device)
    before = torch.cuda.memory_allocated(x.device)
    _ask(model, x, grad=grad)
    torch.cuda.synchronize(x.device)
    return torch.cuda.max_memory_allocated(x.device) - before


def _ask(model: nn.Module, x: Tensor, *, grad: bool) -> None:
    leaf = x.detach().requires_grad_(grad)
    with torch.set_grad_enabled(grad):
        z = model(leaf)
    if grad and z.requires_grad:
        torch.autograd.grad(z.sum(), leaf, allow_unused=True)


def _saved(model: nn.Module, x: Tensor) -> int:
    """Bytes of the tensors that autograd keeps between a forward and its backward."""
    others = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    leaf = x.detach().requires_grad_()
    others.add(leaf.untyped_storage().data_ptr())
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        z = model(leaf)  # alive while it is counted: no address is used twice
    del z
    return sum(size for place, size in kept.items() if place not in others)


def _largest_layer(model: nn.Module, x: Tensor) -> int | None:
    """Bytes of the inputs and outputs of the layer where they are largest; None without layers."""
    largest: list[int] = []

    def note(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        tensors = [t for t in (*inputs, output) if isinstance(t, Tensor)]
        places = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
        largest.append(sum(places.values()))

    leaves = [
        module
        for module in model.modules()
        # A script takes no hooks.
        if not any(True for _ in module.children()) and not isinstance(module, ScriptModule)
    ]
    hooks = [leaf.register_forward_hook(note) for leaf in leaves]
    try:
        _ask(model, x, grad=False)
    finally:
        for hook in hooks:
            hook.remove()
    return max(largest, default=None)
