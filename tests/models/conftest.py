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
