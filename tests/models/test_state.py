"""A model's state is all its answers depend on, beyond the state dict, without scratch."""

from __future__ import annotations

import argparse
import array
import collections
import copy
import ctypes
import fractions
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robbench.models.state import state_of


class Holder:
    """An object that is no module."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def get(self) -> Any:
        return self.value


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class Net(nn.Module):
    """Scales its input; keeps something beside."""

    def __init__(self, kept: Any = None) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        with torch.no_grad():
            self.layer.weight.copy_(torch.eye(2))
            self.layer.bias.zero_()
        self.kept = kept

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


def _buffer(value: float) -> nn.Module:
    net = Net()
    net.register_buffer("table", torch.tensor([value]), persistent=False)
    return net


def _closure(value: float) -> Callable[[], float]:
    return lambda: value


def _default(value: float) -> Callable[[], float]:
    def act(scale: float = value) -> float:
        return scale

    return act


def _hooked(value: float) -> nn.Module:
    net = Net()
    net.layer.register_forward_hook(lambda module, inputs, output: output * value)
    return net


def _member(value: float) -> nn.Module:
    net = Net()
    with torch.no_grad():
        net.layer.bias.fill_(value)
    return net


MAKERS: dict[str, Callable[[float], nn.Module]] = {
    "weight": _member,
    "non-persistent buffer": _buffer,
    "tensor": lambda value: Net(torch.tensor([value])),
    "array": lambda value: Net(np.array([value])),
    "float": Net,
    "int": lambda value: Net(int(value * 10)),
    "text": lambda value: Net(str(value)),
    "flag": lambda value: Net(value > 0.2),
    "modules in a list": lambda value: Net([_member(0.0), _member(value)]),
    "modules in a dict of tuples": lambda value: Net({"a": (Net(), _member(value))}),
    "object": lambda value: Net(Holder(Holder([value]))),
    "object with slots": lambda value: Net(Slotted(value)),
    "namespace": lambda value: Net(argparse.Namespace(scale=value)),
    "set": lambda value: Net({value, 5.0}),
    "closure": lambda value: Net(_closure(value)),
    "default": lambda value: Net(_default(value)),
    "partial": lambda value: Net(functools.partial(max, value)),
    "method": lambda value: Net(Holder(value).get),
    "hook": _hooked,
    "setting of a layer": lambda value: Net([nn.LeakyReLU(value)]),
    "class of a layer": lambda value: Net([nn.ReLU() if value > 0.2 else nn.GELU()]),
    "sparse": lambda value: Net(torch.tensor([[0.0, value]]).to_sparse()),
    "conjugate": lambda value: Net(torch.tensor([value * 1j]).conj()),
    "memory of C": lambda value: Net((ctypes.c_float * 2)(value, 1.0)),
    "plain array": lambda value: Net(array.array("f", [value])),
    "bytes": lambda value: Net(bytearray(str(value), "ascii")),
    "queue": lambda value: Net(collections.deque([torch.tensor(value)])),
    "fraction": lambda value: Net(fractions.Fraction(value)),
    "range": lambda value: Net(range(int(value * 10))),
    "half precision": lambda value: Net(torch.tensor(value, dtype=torch.bfloat16)),
    "frozen script": lambda value: torch.jit.freeze(torch.jit.script(_member(value).eval())),
    "attribute of a script": lambda value: Net([torch.jit.script(_Scaled(value))]),
    "traced function": lambda value: Net(torch.jit.trace(lambda x: x * value, torch.ones(1))),
    "traced graph": lambda value: torch.fx.symbolic_trace(_Scaled(value)),
    "quantised": lambda value: torch.ao.quantization.quantize_dynamic(_member(value), {nn.Linear}),
}


class _Scaled(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        return x * self.value


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning"
)
@pytest.mark.parametrize("name", MAKERS)
def test_what_an_answer_rests_on_tells_models_apart(name: str) -> None:
    make = MAKERS[name]
    models = [make(value).eval() for value in (0.1, 0.1, 0.3)]
    x = torch.ones(1, 2)
    hashes = []
    for model in models:
        before = state_of(model)
        model(x)
        hashes.append(state_of(model).hash(before))
    assert hashes[0] == hashes[1]
    assert hashes[0] != hashes[2]


class Busy(nn.Module):
    """Counts its calls and keeps its activations, as research code does."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale, self.calls, self.seen = scale, 0, []
        self.register_buffer("mean", torch.zeros(2), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.last = x * self.scale
        self.seen.append(x)
        self.mean.add_(x.mean(0))
        return self.last


def test_what_a_pass_writes_is_left_out() -> None:
    hashes = []
    for passes, scale in ((1, 0.5), (3, 0.5), (1, 0.25)):
        model = Busy(scale)
        for n in range(passes):
            model(torch.full((1, 2), float(n)))
        before = state_of(model)
        model(torch.ones(2, 2))
        hashes.append(state_of(model).hash(before))
    assert hashes[0] != hashes[2]
    before = state_of(model)
    model(torch.zeros(2, 2))
    left = {
        path
        for path, leaf in state_of(model).leaves.items()
        if not leaf.same(before.leaves.get(path))
    }
    assert {"calls", "last", "mean"} <= left
    assert "scale" not in left


def test_what_belongs_to_a_machine_is_left_out(tmp_path: Path) -> None:
    kept: list[Any] = ["cpu", torch.device("cpu"), "/a/checkpoint.pt", Path("/a/checkpoint.pt")]
    other: list[Any] = ["cuda:0", torch.device("meta"), f"{tmp_path}{os.sep}c.pt", tmp_path]
    assert state_of(Net(kept)).hash() == state_of(Net(other)).hash()
    assert state_of(Net(["a"])).hash() != state_of(Net(["b"])).hash()


def test_last_bits_of_plain_numbers_are_no_other_model() -> None:
    assert state_of(Net(0.1)).hash() == state_of(Net(0.1 + 2e-17)).hash()
    assert state_of(Net(0.1)).hash() != state_of(Net(0.1001)).hash()


def test_a_cycle_and_a_copy_change_nothing() -> None:
    net = Net()
    net.kept = [net, {"self": net}]
    assert state_of(net).hash() == state_of(copy.deepcopy(net)).hash()


class Closed(dict[str, int]):
    """A mapping that is not ready."""

    def items(self) -> Any:
        raise RuntimeError("not loaded")


def test_an_object_that_cannot_be_looked_into_does_no_harm() -> None:
    assert state_of(Net(Closed())).hash() == state_of(Net(Closed())).hash()


def test_modules_of_classes_and_functions_are_named() -> None:
    named = state_of(Net([functools.partial(os.getcwd), Holder(1)])).modules
    assert {__name__, "torch.nn.modules.linear"} <= named
