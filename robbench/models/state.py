"""All that a model's answers rest on besides its code, also what no state dict holds.

That is: weights and buffers, persistent or not; tensors, arrays, plain values and further modules in attributes, lists, dicts,
closures, hooks and objects; the constants of frozen TorchScript. Left out is what belongs to a machine (devices, absolute
paths) and what other versions of a library may name otherwise (private attributes of their classes; of our own, all but
tensors: an architecture's name stands for them).
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import re
from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from numbers import Number
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from robbench.core.code import is_private, module_of

_DEEPEST = 16
_DEVICE = re.compile(r"(cpu|cuda|mps|xpu)(:\d+)?")
_HOOKS = ("_forward_pre_hooks", "_forward_hooks")
_BARE = vars(nn.Module())  # the attributes that torch itself gives every module
_OPAQUE = {"logging", "threading", "_thread", "weakref", "_weakref"}  # their objects change by themselves


class Leaf(NamedTuple):
    """A value of the state: a tensor with its version counter, or text that stands for the value."""

    value: Tensor | str
    version: int = 0

    def same(self, other: Leaf | None) -> bool:
        """Whether the other leaf is the same tensor, not written to in between, or the same text."""
        if other is None or isinstance(self.value, str) or isinstance(other.value, str):
            return self == other
        if self.value is other.value:
            return self.version == other.version
        alike = (self.value.dtype, self.value.shape) == (other.value.dtype, other.value.shape)
        return alike and list(_content(self.value)) == list(_content(other.value))


class State(NamedTuple):
    """The values by their path in the model, and the modules that its classes and functions come from."""

    leaves: dict[str, Leaf]
    modules: frozenset[str]

    def hash(self, before: State | None = None) -> str:
        """16 hexadecimal digits: blake2b over paths, dtypes, shapes and bytes.

        With the state `before` a forward pass, what the pass wrote (counters, kept activations) is left out.
        """
        digest = hashlib.blake2b(digest_size=8)
        for path, leaf in sorted(self.leaves.items()):
            if before is None or leaf.same(before.leaves.get(path)):
                digest.update(f"{path} ".encode(errors="surrogatepass"))
                for part in _content(leaf.value):
                    digest.update(part)
        return digest.hexdigest()


def state_of(model: nn.Module) -> State:
    """The state of a model as it is now; tensors are held, not copied."""
    walk = _Walk()
    walk.visit(model, "", 0)
    return State(walk.leaves, frozenset(walk.modules))


class _Walk:
    def __init__(self) -> None:
        self.leaves: dict[str, Leaf] = {}
        self.modules: set[str] = set()
        self.seen: dict[int, tuple[str, Any]] = {}  # the values too: a freed one could give its id away

    def visit(self, value: Any, path: str, depth: int) -> None:
        plain = _plain(value)
        if plain is not None:
            self.leaves[path] = Leaf(plain)
        elif id(value) in self.seen:
            self.leaves[path] = Leaf(f"is {self.seen[id(value)][0]}")
        elif not isinstance(value, torch.device | os.PathLike | str) and depth < _DEEPEST:
            if not isinstance(value, tuple | frozenset):  # equal constants of a source file may be one object, or not
                self.seen[id(value)] = path, value
            try:
                parts = list(self._inside(value, path))
            except Exception:
                if isinstance(value, Tensor | nn.Module):
                    raise
                parts = []  # an object that does not let itself be looked into: its class is all that is known
            for name, part in parts:
                self.visit(part, f"{path}.{name}" if path else name, depth + 1)

    def _inside(self, value: Any, path: str) -> Iterator[tuple[str, Any]]:
        """The parts of a value that is not plain; what has none becomes a leaf."""
        if isinstance(value, Tensor):
            self.leaves[path] = Leaf(value, 0 if value.is_inference() else value._version)
        elif isinstance(value, np.ndarray) and value.dtype != object:
            self.leaves[path] = Leaf(f"{value.dtype} {value.shape} {_digest(value.tobytes())}")
        elif isinstance(value, nn.Module):
            yield from self._of_module(value, path)
        elif isinstance(value, torch.jit.ScriptFunction):
            yield from _of_graph(value)
        elif isinstance(value, bytearray | memoryview | array | ctypes.Array):
            self.leaves[path] = Leaf(_digest(memoryview(value).tobytes()))
        elif isinstance(value, Mapping):
            yield from ((str(_plain(key) or n), part) for n, (key, part) in enumerate(list(value.items())))
        elif isinstance(value, set | frozenset):
            yield from ((text, text) for text in sorted(filter(None, map(_plain, value))))
        elif isinstance(value, list | tuple | deque | np.ndarray):
            yield from ((str(n), part) for n, part in enumerate(value))
        elif isinstance(value, MethodType):
            yield from (("of", value.__self__), ("function", value.__func__))
        elif isinstance(value, functools.partial):
            yield from (("function", value.func), ("args", value.args), ("keywords", value.keywords))
        elif source := module_of(value):
            self.modules.add(source)
            self.leaves[path] = Leaf(getattr(value, "__qualname__", Path(source).name))
            yield from _of_function(getattr(value, "__wrapped__", value))
        else:
            yield from self._of_object(value, path, {})

    def _of_module(self, module: nn.Module, path: str) -> Iterator[tuple[str, Any]]:
        yield from module._parameters.items()
        yield from module._buffers.items()
        yield from module._modules.items()
        for name in _HOOKS:
            yield name, list(module.__dict__.get(name, {}).values())
        if isinstance(module, torch.jit.ScriptModule | torch.fx.GraphModule):
            yield from _of_graph(module)
            return
        if type(module)._save_to_state_dict is not nn.Module._save_to_state_dict:  # quantised weights are packed
            saved: dict[str, Any] = {}
            module._save_to_state_dict(saved, "", True)
            yield "saved", saved
        if type(module).get_extra_state is not nn.Module.get_extra_state:
            yield "extra_state", module.get_extra_state()
        yield from self._of_object(module, path, _BARE)

    def _of_object(self, value: Any, path: str, without: Iterable[str]) -> Iterator[tuple[str, Any]]:
        """Its class, and the attributes that tell something of it."""
        source = module_of(type(value))
        self.modules.add(source)
        if source.startswith("torch._") or source.partition(".")[0] in _OPAQUE:
            return
        found = {name: part for name, part in getattr(value, "__dict__", {}).items() if name not in without}
        slots = [name for cls in type(value).__mro__ for name in np.atleast_1d(getattr(cls, "__slots__", ())).tolist()]
        found |= {name: getattr(value, name) for name in slots if not name.startswith("__") and hasattr(value, name)}
        if source.startswith("robbench."):
            yield from ((name, part) for name, part in found.items() if isinstance(part, Tensor | nn.Module | list | dict))
            return
        self.leaves[f"{path}.class"] = Leaf(type(value).__qualname__)
        private = is_private(source)
        yield from ((name, part) for name, part in found.items() if private or not name.startswith("_"))


def _of_function(value: Any) -> Iterator[tuple[str, Any]]:
    """What a function was made with: its defaults and the variables around it."""
    if isinstance(value, FunctionType):
        yield "defaults", (value.__defaults__, value.__kwdefaults__)
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            with contextlib.suppress(ValueError):  # not filled yet
                yield name, cell.cell_contents


def _of_graph(module: Any) -> Iterator[tuple[str, Any]]:
    """The code of a script or graph, and the constants and attributes in it."""
    with contextlib.suppress(Exception):  # not every part of a script has code of its own
        yield "code", str(module.code)
    with contextlib.suppress(Exception):
        constants = module.graph.findAllNodes("prim::Constant", True)
        read = {node.s("name") for node in module.graph.findAllNodes("prim::GetAttr", True)}
        yield from ((name, getattr(module, name)) for name in sorted(read) if hasattr(module, name))
        yield "constants", [node.t("value") for node in constants if node.hasAttribute("value") and node.kindOf("value") == "t"]


def _plain(value: Any) -> str | None:
    """Text that stands for a plain value; None for others, for devices and for absolute paths."""
    if isinstance(value, Enum):
        return str(value)
    if isinstance(value, str):
        return None if _DEVICE.fullmatch(value) or Path(value).is_absolute() else repr(value)
    if isinstance(value, float | np.floating):
        return f"{float(value):.12g}"  # libraries differ in the last bits of powers and logarithms
    if value is None or isinstance(value, Number | bytes | range | slice | torch.dtype | torch.Size | np.generic):
        return repr(value)
    return None


def _content(value: Tensor | str) -> Iterator[bytes]:
    if isinstance(value, str):
        yield f"{value}\n".encode(errors="surrogatepass")
        return
    tensor = value.detach().resolve_conj().resolve_neg()
    if tensor.is_meta:
        return
    if tensor.is_quantized:
        yield repr((tensor.qscheme(), tensor.dtype)).encode()
        tensor = tensor.dequantize()
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    yield f"{tensor.dtype} {tuple(tensor.shape)}\n".encode()
    yield tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()
