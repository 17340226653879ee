"""A finished run to be tampered with, and private code that leaves a mark when it is run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

MARKING = """
from pathlib import Path
Path("ran").touch()
from robbench.attacks.fgsm import FGSM
from robbench.losses.cross_entropy import CrossEntropy

class Attack(FGSM):
    pass

class Loss(CrossEntropy):
    pass

def make(width=4):
    from torch import nn
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))
"""


@pytest.fixture
def hostile(private: Callable[..., Path]) -> Callable[..., Path]:
    """The folder of such a module; `hostile().joinpath("ran")` exists once it was imported."""
    return lambda name="hostile": private(name, MARKING)


@pytest.fixture(scope="session")
def _attacked(cli: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("attacked") / "S"
    done = cli(
        "attack mlp:width=4 --attack fgsm --threat linf:0.05 --limit 8 --quiet --out", folder
    )
    assert done.code == 0, done.err
    return folder


@pytest.fixture
def attacked(_attacked: Path, tmp_path: Path) -> Path:
    """An output folder of one's own with one run of mlp:width=4 on eight digits."""
    return shutil.copytree(_attacked, tmp_path / "attacked")


@pytest.fixture
def row_of() -> Callable[[Path], Path]:
    """The only runs file of an output folder."""

    def find(folder: Path) -> Path:
        (path,) = (folder / "results" / "runs").glob("*.parquet")
        return path

    return find


@pytest.fixture
def rewrite() -> Callable[..., None]:
    """Puts other values into columns of a Parquet file, its metadata kept."""

    def change(path: Path, **values: object) -> None:
        table = pq.read_table(path)
        for name, value in values.items():
            field = table.schema.field(name)
            table = table.set_column(
                table.schema.names.index(name), field, pa.array([value] * len(table), field.type)
            )
        pq.write_table(table, path)

    return change
