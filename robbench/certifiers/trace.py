"""From a torch module to a `Network`.

By torch.fx rather than a walk over containers: residual blocks are functions, not containers, and a
graph shows every operation, so that one that is not known is an error and never left out.
"""

from __future__ import annotations

import operator
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from robbench.certifiers.known_layers import FUNCTIONS, KNOWN, UnknownError, reader_of
from robbench.certifiers.layers import Layer, Sum
from robbench.certifiers.network import Network, Node
from robbench.core.errors import RobbenchError, UserError
from robbench.data.base import reason
from robbench.models.base import Classifier
from robbench.models.external import External

_NEAR = 1e-4  # of the largest logit: how far float32 and float64 may be apart


def trace(model: Classifier, x: Tensor) -> Network:
    """The network of a classifier in evaluation mode, from inputs x [n,*] to its logits.

    Logits may be moved by one number for all classes, which changes no margin. Raises UserError,
    naming the layer, for one that is not known, and where the network's answers are not the
    model's.
    """
    whole = layers_of(model)
    try:
        graph = _Tracer().trace(whole)
    except Exception as error:  # whatever a module raises that looks at values
        raise UserError(
            f"the model cannot be traced to its layers, so it has no bounds ({reason(error)}); "
            "--method smoothing needs none"
        ) from error
    try:
        network = _Reader(whole, x[:1].double()).read(graph)
    except UnknownError as error:
        raise UserError(
            f"there are no bounds for {error}; known are {KNOWN}. --method smoothing takes any "
            "model"
        ) from None
    points = torch.cat([x, torch.rand_like(x), torch.rand_like(x).round()])
    with torch.no_grad():
        values = network.values(points.double())[-1]
    require_equal(values, model, points)
    return network


def layers_of(model: Classifier) -> nn.Sequential:
    """The modules from inputs to logits, the model's own and not copies."""
    own = [] if isinstance(model, External) else [model.head]
    return nn.Sequential(model.normalize, model.body, *own)


def require_equal(mine: Tensor, model: Classifier, points: Tensor) -> None:
    """Raise UserError unless outputs [n,K] of its layers have the model's margins at the points.

    With K = 1 there is no margin.
    """
    with torch.no_grad():
        theirs = _logits(model, points).double()
    if theirs.shape[1] == 1:
        raise UserError("the model has one class, so no margin to bound: it predicts nothing else")
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


def _logits(model: Classifier, points: Tensor) -> Tensor:
    try:
        logits: Tensor = model(points)
    except (RobbenchError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # of weights of another type, where its interface is not fitted
        kind = str(points.dtype).removeprefix("torch.")
        raise UserError(f"the model cannot process images as {kind} ({reason(error)})") from error
    return logits


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return reader_of(m) is not None or super().is_leaf_module(m, module_qualified_name)


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
                    raise UnknownError("an output that is not that of the last layer")
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
            raise UnknownError(f"{_name(node)} of {len(reads)} values")
        if len({self._values[i].shape for i in reads}) > 1:
            raise UnknownError(f"{_name(node)} of values of several shapes")
        with torch.no_grad():
            self._values.append(layer(*(self._values[i] for i in reads)))
        self._nodes.append(Node(layer, reads))
        self._places[node] = len(self._nodes)
        if _in_place(node, self._root):  # who reads it later reads what it has become
            self._places[read[0]] = len(self._nodes)

    def _layer(self, node: fx.Node, x: Tensor) -> Layer:
        if node.op == "call_module":
            module = self._root.get_submodule(str(node.target))
            read = reader_of(module)
            if read is None or len(node.args) != 1 or node.kwargs:
                raise UnknownError(f"layer {type(module).__name__} ('{node.target}')")
            if module._forward_hooks or module._forward_pre_hooks:
                raise UnknownError(f"{type(module).__name__} ('{node.target}') with hooks")
            return read(module, x)
        rest = [self._sizes.get(a, a) if isinstance(a, fx.Node) else a for a in node.args[1:]]
        read_function = FUNCTIONS.get(node.target)
        made = read_function(rest, dict(node.kwargs), x) if read_function else None
        if made is None:
            raise UnknownError(f"{_name(node)} in the forward pass")
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
