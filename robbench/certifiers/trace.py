"""From a torch module to a `Network`.

By torch.fx rather than a walk over containers: residual blocks are functions, not containers, and a
graph shows every operation, so that one that is not known is an error and never left out.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from robbench.certifiers.layers import (
    Affine,
    Layer,
    Maximum,
    Rectifier,
    Sum,
    linear,
    monotone,
    scaled,
)
from robbench.certifiers.network import Network, Node
from robbench.core.errors import UserError
from robbench.data.base import reason
from robbench.models.base import Classifier, InUnits, Normalize
from robbench.models.external import External

KNOWN = (
    "Linear, Conv2d, ReLU, LeakyReLU, AvgPool2d, AdaptiveAvgPool2d to one pixel, MaxPool2d, "
    "BatchNorm, Flatten, Identity, Dropout, and sums"
)
_NEAR = 1e-4  # of the largest logit: how far float32 and float64 may be apart


class _UnknownError(Exception):
    """An operation that has no bounds here."""


def trace(model: Classifier, x: Tensor) -> Network:
    """The network of a classifier in evaluation mode, from inputs x [n,*] to its logits.

    Logits may be moved by one number for all classes, which changes no margin. Raises UserError,
    naming the layer, for one that is not known, and where the network's answers are not the
    model's.
    """
    own = [] if isinstance(model, External) else [model.head]
    whole = nn.Sequential(model.normalize, model.body, *own)
    try:
        graph = _Tracer().trace(whole)
    except Exception as error:  # whatever a module raises that looks at values
        raise UserError(
            f"the model cannot be traced to its layers, so it has no bounds ({reason(error)}); "
            "--method smoothing needs none"
        ) from error
    try:
        network = _Reader(whole, x[:1].double()).read(graph)
    except _UnknownError as error:
        raise UserError(
            f"there are no bounds for {error}; known are {KNOWN}. --method smoothing takes any "
            "model"
        ) from None
    _require_equal(network, model, x)
    return network


def _require_equal(network: Network, model: Classifier, x: Tensor) -> None:
    """Raise UserError unless both give the same margins, at samples and at noise."""
    points = torch.cat([x, torch.rand_like(x), torch.rand_like(x).round()])
    with torch.no_grad():
        mine, theirs = network.values(points.double())[-1], model(points).double()
    if mine.shape != theirs.shape:
        raise UserError(
            f"the layers of the model give {mine[0].numel()} outputs, of which it reads "
            f"{theirs.shape[1]}: there are no bounds for a selection"
        )
    mine, theirs = (z - z[:, :1] for z in (mine, theirs))
    apart = (mine - theirs).abs().amax()
    if not apart <= _NEAR * (1 + theirs.abs().amax()):
        raise UserError(
            f"the layers of the model do not give its logits (margins are {apart.item():.2g} "
            "apart), so there are no bounds; --method smoothing takes any model"
        )


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return _reader_of(m) is not None or super().is_leaf_module(m, module_qualified_name)


class _Reader:
    """Reads the nodes of a graph in order; x [1,*] shows their shapes."""

    def __init__(self, root: nn.Module, x: Tensor) -> None:
        self._root = root
        self._nodes: list[Node] = []
        self._values = [x]
        self._places: dict[fx.Node, int] = {}  # of values of the network
        self._sizes: dict[fx.Node, Any] = {}  # shapes of them, and parts of shapes

    def read(self, graph: fx.Graph) -> Network:
        """The layers that its output rests on."""
        for node in graph.nodes:
            given = [arg for arg in node.args if isinstance(arg, fx.Node)]
            if node.op == "placeholder":
                self._places[node] = 0
            elif node.op == "output":
                if self._places.get(node.args[0]) != len(self._nodes):
                    raise _UnknownError("an output that is not that of the last layer")
            elif self._asks_for_sizes(node):
                self._sizes[node] = self._size(node)
            elif any(arg in self._places for arg in given):
                self._add(node)
        return Network(tuple(self._nodes))

    def _size(self, node: fx.Node) -> Any:
        of, rest = cast(fx.Node, node.args[0]), cast(Any, node.args[1:])
        if node.target is operator.getitem:
            return self._sizes[of][rest[0]]
        whole = self._values[self._places[of]].shape
        return whole[rest[0]] if node.op == "call_method" and rest else whole

    def _asks_for_sizes(self, node: fx.Node) -> bool:
        if node.op == "call_method":
            return bool(node.target == "size") and node.args[0] in self._places
        if node.target is getattr:
            return node.args[0] in self._places and bool(node.args[1] == "shape")
        return node.target is operator.getitem and node.args[0] in self._sizes

    def _add(self, node: fx.Node) -> None:
        """Append the layer of a node."""
        read = [a for a in node.args if isinstance(a, fx.Node) and a in self._places]
        reads = tuple(self._places[a] for a in read)
        layer = self._layer(node, self._values[reads[0]])
        if read[0] is not node.args[0] or len(reads) != (2 if isinstance(layer, Sum) else 1):
            raise _UnknownError(f"{_name(node)} of {len(reads)} values")
        with torch.no_grad():
            self._values.append(layer(*(self._values[i] for i in reads)))
        self._nodes.append(Node(layer, reads))
        self._places[node] = len(self._nodes)
        if _in_place(node, self._root):  # who reads it later reads what it has become
            self._places[read[0]] = len(self._nodes)

    def _layer(self, node: fx.Node, x: Tensor) -> Layer:
        if node.op == "call_module":
            module = self._root.get_submodule(str(node.target))
            read = _reader_of(module)
            if read is None or len(node.args) != 1 or node.kwargs:
                raise _UnknownError(f"layer {type(module).__name__} ('{node.target}')")
            if module._forward_hooks or module._forward_pre_hooks:
                raise _UnknownError(f"{type(module).__name__} ('{node.target}') with hooks")
            return read(module, x)
        rest = [self._sizes.get(a, a) if isinstance(a, fx.Node) else a for a in node.args[1:]]
        read_function = _FUNCTIONS.get(node.target)
        made = read_function(rest, dict(node.kwargs), x) if read_function else None
        if made is None:
            raise _UnknownError(f"{_name(node)} in the forward pass")
        return made


def _name(node: fx.Node) -> str:
    return f"'{getattr(node.target, '__name__', node.target)}'"


def _in_place(node: fx.Node, root: nn.Module) -> bool:
    if node.op == "call_module":
        return bool(getattr(root.get_submodule(str(node.target)), "inplace", False))
    return bool(node.kwargs.get("inplace")) or node.target in (
        operator.iadd,
        F.relu_,
        torch.relu_,
        "relu_",
        "add_",
    )


# Modules.


def _conv(module: Any, x: Tensor) -> Affine:
    if module.padding_mode != "zeros":
        raise _UnknownError(f"Conv2d with {module.padding_mode} padding")
    w = module.weight.detach().double()
    b = None if module.bias is None else module.bias.detach().double()
    how = (module.stride, module.padding, module.dilation, module.groups)
    terms = int(w[0].numel() + w[:, 0].numel())
    return Affine(
        lambda x: F.conv2d(x, w, b, *how), lambda r: F.conv2d(r, w.abs(), None, *how), terms
    )


def _batch_norm(module: Any, x: Tensor) -> Affine:
    if module.training or module.running_mean is None:
        raise _UnknownError(f"{type(module).__name__} by the statistics of a batch")
    scale = (module.running_var.double() + module.eps).rsqrt()
    if module.weight is not None:
        scale = scale * module.weight.double()
    shift = -module.running_mean.double() * scale
    if module.bias is not None:
        shift = shift + module.bias.double()
    shape = (-1, *[1] * (x.ndim - 2))
    return scaled(scale.reshape(shape), shift.reshape(shape))


def _normalize(module: Any, x: Tensor) -> Affine:
    shape = (-1, *[1] * (x.ndim - 2))
    mean, std = (module.get_buffer(name).double().reshape(shape) for name in ("mean", "std"))
    return scaled(1 / std, -mean / std)


def _average(module: Any, x: Tensor) -> Affine:
    return monotone(module, 2 * _window(module.kernel_size))


def _max(module: Any, x: Tensor) -> Maximum:
    if module.return_indices:
        raise _UnknownError("MaxPool2d with indices")
    return Maximum(module)


def _window(size: Any) -> int:
    return int(size * size if isinstance(size, int) else size[0] * size[1])


def _global_average(module: Any, x: Tensor) -> Affine:
    if module.output_size not in (1, (1, 1)):
        raise _UnknownError(f"AdaptiveAvgPool2d to {module.output_size}")
    return _mean(x, (2, 3), keepdim=True)


def _mean(x: Tensor, axes: Any, keepdim: bool) -> Affine:
    return monotone(lambda x: x.mean(axes, keepdim=keepdim), x[0].numel())


def _dropout(module: Any, x: Tensor) -> Affine:
    if module.training:
        raise _UnknownError("Dropout in training mode")
    return monotone(lambda x: x, 1)


_Args: TypeAlias = list[Any]
_Options: TypeAlias = dict[str, Any]
_Read: TypeAlias = Callable[[Any, Tensor], Layer]
_MODULES: Mapping[type[nn.Module], _Read] = {
    nn.Linear: lambda m, x: linear(m.weight, m.bias),
    nn.Conv2d: _conv,
    nn.ReLU: lambda m, x: Rectifier(),
    nn.LeakyReLU: lambda m, x: _leaky(m.negative_slope),
    nn.AvgPool2d: _average,
    nn.AdaptiveAvgPool2d: _global_average,
    nn.MaxPool2d: _max,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.Flatten: lambda m, x: _flatten(m.start_dim, m.end_dim),
    nn.Identity: lambda m, x: monotone(lambda x: x, 1),
    nn.Dropout: _dropout,
    nn.Dropout2d: _dropout,
    Normalize: _normalize,
    InUnits: lambda m, x: scaled(m.get_buffer("width"), m.get_buffer("low")),
}


def _reader_of(module: nn.Module) -> _Read | None:
    """What reads a module of a known kind whose forward pass is that kind's own."""
    for kind, read in _MODULES.items():
        if isinstance(module, kind) and type(module).forward is kind.forward:
            return read
    return None


def _leaky(slope: float) -> Rectifier:
    if not 0 <= slope < 1:
        raise _UnknownError(f"LeakyReLU with slope {slope:g}")
    return Rectifier(float(slope))


def _flatten(start: int, end: int) -> Affine:
    if start != 1 or end != -1:
        raise _UnknownError(f"Flatten of the axes {start} to {end}")
    return monotone(lambda x: x.flatten(1), 1)


# Functions and methods, from the arguments after the first: None where these are not known.


def _add_of(rest: _Args, options: _Options, x: Tensor) -> Layer | None:
    return Sum() if len(rest) == 1 and isinstance(rest[0], fx.Node) and not options else None


def _relu_of(rest: _Args, options: _Options, x: Tensor) -> Layer | None:
    return Rectifier() if not rest and options.keys() <= {"inplace"} else None


def _flatten_of(rest: _Args, options: _Options, x: Tensor) -> Layer | None:
    return _flatten(1, -1) if rest == [1] and not options else None


def _view_of(rest: _Args, options: _Options, x: Tensor) -> Layer | None:
    return _flatten(1, -1) if len(rest) == 2 and rest[1] == -1 and not options else None


def _mean_of(rest: _Args, options: _Options, x: Tensor) -> Layer | None:
    axes = rest[0] if rest else options.get("dim")
    image = x.ndim == 4 and isinstance(axes, list | tuple) and {a % 4 for a in axes} == {2, 3}
    return _mean(x, axes, bool(options.get("keepdim"))) if image else None


def _average_of(rest: _Args, options: _Options, x: Tensor) -> Layer | None:
    plain = len(rest) == 1 and not options and isinstance(rest[0], int | list | tuple)
    return monotone(lambda x: F.avg_pool2d(x, rest[0]), 2 * _window(rest[0])) if plain else None


_FUNCTIONS: Mapping[Any, Callable[[_Args, _Options, Tensor], Layer | None]] = {
    **dict.fromkeys([operator.add, operator.iadd, torch.add, "add", "add_"], _add_of),
    **dict.fromkeys([F.relu, F.relu_, torch.relu, torch.relu_, "relu", "relu_"], _relu_of),
    **dict.fromkeys([torch.flatten, "flatten"], _flatten_of),
    **dict.fromkeys(["view", "reshape"], _view_of),
    **dict.fromkeys([torch.mean, "mean"], _mean_of),
    F.avg_pool2d: _average_of,
}
