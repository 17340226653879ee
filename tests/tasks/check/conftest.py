"""A store with a checked run of 150 digits, and its tables."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

PGD = "--attack pgd:steps=20 --threat linf:0.15"


@pytest.fixture(scope="module")
def checked(trained: Path, cli, tmp_path_factory) -> Path:
    """A run of 150 samples with points, and the checks that came with it. Not to be written to."""
    out = shutil.copytree(trained, tmp_path_factory.mktemp("checked") / "S")
    done = cli(f"attack at {PGD} --attack square:steps=20 --limit 150 --store-points --out", out)
    assert done.code == 0, done.err
    return out


@pytest.fixture
def mine(checked: Path, tmp_path: Path) -> Path:
    """A copy to write to."""
    return shutil.copytree(checked, tmp_path / "S")


@pytest.fixture
def table() -> Callable[[Path, str], list[dict]]:
    """Reads the newest file of a table in an output folder."""

    def rows(out: Path, kind: str) -> list[dict]:
        files = (out / "results" / kind).glob("*.parquet")
        return pq.read_table(max(files, key=lambda p: p.stat().st_mtime_ns)).to_pylist()

    return rows


@pytest.fixture
def by_name() -> Callable[[list[dict]], dict[str, dict]]:
    """Rows of the checks table by the check's name."""
    return lambda rows: {row["check"]: row for row in rows}
