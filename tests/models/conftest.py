"""What the tests of models share: descriptions of data, and private model modules."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

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


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No host is looked up and no socket connected, or the test fails, whoever swallows it."""
    asked: list[object] = []

    def refuse(*words: object, **_: object) -> None:
        asked.append(words)
        raise OSError("there is no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    yield
    assert asked == []


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """An empty cache of the Hugging Face hub; `hub("org/repo")` makes a repository's folder."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def repository(name: str, revision: str = "main") -> Path:
        folder = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
        commit = "0123456789" * 4
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / revision).write_text(commit)
        (folder / "snapshots" / commit).mkdir(parents=True)
        return folder / "snapshots" / commit

    return repository


class Marker:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


@pytest.fixture
def torch_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of weights in an empty cache of torch.hub."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def pickled(tmp_path: Path) -> Iterator[Callable[[Path], None]]:
    """Writes a file that makes another one when it is unpickled, which must not happen."""
    made = tmp_path / "unpickled"

    def write(path: Path) -> None:
        torch.save({"state_dict": Marker(made)}, path)

    yield write
    assert not made.exists()
