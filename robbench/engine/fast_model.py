"""A faster model for the attacks to search with; the model itself confirms what they find."""

from __future__ import annotations

import contextlib
import copy
from typing import NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from robbench.core.errors import UserError
from robbench.engine.direct import direct
from robbench.engine.packed import pack
from robbench.models.base import Normalize, last_linear

_CLOSE = 1e-3  # largest difference, as a share of the largest value, that rounding may explain
_TRIED = 2  # inputs on which a folded copy is compared; with gradients each costs as a step does


class FastModel(NamedTuple):
    """What the attacks see; `recheck`: it is so coarse that all its points need one.

    dtype: in which attacks move their points, and have its answers.
    """

    model: nn.Module
    recheck: bool
    dtype: torch.dtype


def fast_model(
    model: nn.Module, x: Tensor, *, precision: str, compiled: bool, tile: int
) -> FastModel:
    """The model's own layers, or a copy: batch-norms folded into convolutions, bfloat16, compiled.

    Or in float64. x [n,*]: a few inputs to try it on. Raises UserError when the model cannot run in
    the precision.
    """
    # A GPU's float32 kernels gain nothing from another layout, and a compiler chooses its own.
    eager = x.device.type == "cpu" and not compiled
    with torch.no_grad():
        fast = _folded(model, x[:_TRIED], channels_last=eager and precision == "fp32")
        if precision != "fp32":
            try:
                fast = BFloat16(fast) if precision == "bf16" else Float64(fast)
                fast(x)
            except (RuntimeError, TypeError) as error:
                name = "bfloat16" if precision == "bf16" else "float64"
                first = str(error).splitlines()[0]
                raise UserError(
                    f"the model cannot run in {name} ({first}); use --precision fp32"
                ) from None
    dtype = torch.float64 if precision == "fp64" else torch.float32
    if compiled:
        fast = Compiled(fast, tile, dtype)
    for part in fast.modules() if eager and fast is not model else ():
        if isinstance(part, InLayout) and part.layout == torch.channels_last:
            pack(part)
    if fast is not model:
        for weight in fast.parameters():
            weight.requires_grad_(False)
    if eager and fast is model:
        fast = direct(model)
    return FastModel(fast, recheck=precision == "bf16", dtype=dtype)


def _folded(model: nn.Module, x: Tensor, *, channels_last: bool) -> nn.Module:
    """Each batch-norm after a convolution folded into it; the model as given where none is.

    `channels_last`: the copy computes in that layout, if it can.
    """
    if not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()):
        return model
    try:
        own = copy.deepcopy(model).eval()
        traced = fx.GraphModule(own, _Tracer().trace(own))
        if not _fold_all(traced):
            return model
        expected = _answers(model, x)
    except Exception:  # tracing runs foreign code without real tensors: anything may be raised
        return model
    for layout in (torch.channels_last, torch.contiguous_format)[not channels_last :]:
        with contextlib.suppress(Exception):  # such as a `view` that no layout but one allows
            fast = InLayout(traced, layout)
            if all(map(_near, _answers(fast, x), expected)):
                return fast
    return model


def _answers(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and the gradient of a mixture of them, as a trace may miss what changes gradients."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        logits = model(x)
        weights = torch.linspace(-1, 1, logits.numel(), device=x.device).cos().reshape(logits.shape)
        return logits.detach(), torch.autograd.grad((logits * weights).sum(), x)[0]


def _near(a: Tensor, b: Tensor) -> bool:
    return bool(torch.allclose(a, b, rtol=0, atol=_CLOSE * float(b.abs().max())))


class _Tracer(fx.Tracer):
    """Takes our normalisation as one step: it depends on the input's rank, unknown to a trace."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, Normalize) or super().is_leaf_module(m, module_qualified_name)


def _fold_all(traced: fx.GraphModule) -> int:
    modules = dict(traced.named_modules())
    count = 0
    for node in list(traced.graph.nodes):
        before = node.args[0] if node.args else None
        if (
            node.op != "call_module"
            or not isinstance(before, fx.Node)
            or before.op != "call_module"
            or len(before.users) > 1
        ):
            continue
        convolution, norm = modules[str(before.target)], modules[str(node.target)]
        shared = sum(other.target == before.target for other in traced.graph.nodes) > 1
        if isinstance(convolution, nn.Conv1d | nn.Conv2d | nn.Conv3d) and isinstance(
            norm, nn.modules.batchnorm._BatchNorm
        ):
            if shared or norm.running_mean is None:
                continue
            traced.set_submodule(str(before.target), fuse_conv_bn_eval(convolution, norm))
            node.replace_all_uses_with(before)
            traced.graph.erase_node(node)
            count += 1
    traced.recompile()
    return count


class InLayout(nn.Module):
    """A model whose images and weights lie in one layout: channels last is a CPU's fastest."""

    def __init__(self, model: nn.Module, layout: torch.memory_format) -> None:
        super().__init__()
        self.model = model.to(memory_format=layout)
        self.layout = layout

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x.contiguous(memory_format=self.layout) if x.ndim == 4 else x)
        return logits


class BFloat16(nn.Module):
    """A copy of a model that computes in bfloat16, but for what sees pixels and what gives logits.

    Pixels of 1/255 and small perturbations of them need more than bfloat16's 8 bits, and so do
    margins; the first layer and the last cost next to nothing.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        first = next(
            (m for m in self.model.modules() if isinstance(m, nn.Conv1d | nn.Conv2d | nn.Linear)),
            None,
        )
        last = (last_linear(self.model) or (None, None))[1]
        # So do the statistics of the input, the buffers of modules that have no weights.
        inputs = [
            m
            for m in self.model.modules()
            if not [*m.parameters(recurse=False)] and m._buffers and not _is_norm(m)
        ]
        exact = [
            tensor
            for m in (first, last, *inputs)
            if m is not None
            for tensor in (*m._parameters.values(), *m._buffers.values())
        ]
        kept = {id(tensor) for tensor in exact if tensor is not None}
        self.model._apply(
            lambda t: t if id(t) in kept or not t.is_floating_point() else t.to(torch.bfloat16)
        )  # type: ignore[no-untyped-call]
        self.model = InLayout(self.model, torch.channels_last)
        if first is not None and first is not last:
            first.register_forward_hook(lambda module, inputs, output: output.to(torch.bfloat16))
        if last is not None:
            last.register_forward_pre_hook(
                lambda module, inputs: tuple(value.float() for value in inputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        return logits.float()


class Float64(nn.Module):
    """A copy of a model that computes in float64, where confident answers keep their gradients."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).double()

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x.double())
        return logits


def _is_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.batchnorm._BatchNorm)


class Compiled(nn.Module):
    """A compiled model that sees one batch shape and type: tiles are padded to `tile` rows.

    The type is that of the points; clean inputs would be compiled a second time.
    """

    def __init__(self, model: nn.Module, tile: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        from torch._functorch import config  # not loaded with torch

        config.donated_buffer = False  # a Jacobian goes back through one forward several times
        on_gpu = any(weight.is_cuda for weight in model.parameters())
        self.tile = tile
        self.dtype = dtype
        self.compiled = torch.compile(
            model, dynamic=False, mode="reduce-overhead" if on_gpu else None
        )

    def forward(self, x: Tensor) -> Tensor:
        padded = (
            torch.cat([x, x[:1].detach().expand(self.tile - len(x), *x.shape[1:])])
            if len(x) < self.tile
            else x
        )
        logits: Tensor = self.compiled(padded.to(self.dtype))
        return logits[: len(x)].clone()  # a CUDA graph writes its next answer over this one
