"""What the tests of models share: descriptions of data, and private model modules."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from robbench.data.base import DataInfo

CIFAR_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)


@pytest.fixture
def info() -> Callable[..., DataInfo]:
    """A DataInfo of a shape and a number of classes."""

    def make(shape: tuple[int, ...] = (3, 32, 32), classes: int = 10) -> DataInfo:
        names = CIFAR_CLASSES if classes == 10 else tuple(f"class {i}" for i in range(classes))
        return DataInfo(shape, names, (0.4,) * shape[0], (0.25,) * shape[0])

    return make


@pytest.fixture
def private_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes a Python module into a working folder of its own and returns its name."""
    written = []

    def write(source: str) -> str:
        name = f"private_models_{len(written)}"
        (tmp_path / f"{name}.py").write_text(source)
        monkeypatch.chdir(tmp_path)
        monkeypatch.delitem(sys.modules, name, raising=False)
        written.append(name)
        return name

    yield write
    for name in written:
        sys.modules.pop(name, None)


MakeInfo = Callable[..., DataInfo]


SOURCE = """
import torch
from dataclasses import dataclass
from torch import nn
from robbench.models.base import Architecture, Classifier

class Net(nn.Module):
    def __init__(self, width=6, deep=False, classes=3):
        super().__init__()
        self.stem = nn.Sequential(nn.Flatten(), nn.Linear(12, width), nn.ReLU())
        self.fc = nn.Linear(width, classes)
    def forward(self, x):
        return self.fc(self.stem(x))

def factory(**options):
    return Net(**options)

def softmax():
    return nn.Sequential(Net(), nn.Softmax(1))

def without_linear():
    return nn.Sequential(nn.Conv2d(3, 3, 2), nn.Flatten())

def unused():
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    net.forward = lambda x: net[1](net[0](x))
    net.auxiliary = nn.Linear(2, 2)
    return net

class Standardises(Net):
    def forward(self, x):
        h = x.flatten(1)
        return super().forward((h - h.mean(1, keepdim=True)) / h.std(1, keepdim=True))

def fails():
    raise OSError("no weights here")

def gives_text():
    return "model"

ready = Net()
number = 3

@dataclass(frozen=True, kw_only=True)
class Own(Architecture):
    width: int = 4
    def build(self, info):
        body = nn.Sequential(nn.Flatten(), nn.Linear(12, self.width))
        head = nn.Linear(self.width, 3)
        return Classifier(nn.Identity(), body, head, features=self.width, classes=3)
"""


@pytest.fixture
def name(private_module: Callable[[str], str]) -> str:
    """The module above, importable from the working folder."""
    return private_module(SOURCE)


@pytest.fixture
def small(info: MakeInfo) -> DataInfo:
    """3x2x2 images of three classes."""
    return info((3, 2, 2), 3)
