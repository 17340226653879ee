"""Runs to verify, and bundles of them to tamper with."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from robbench.store.archive import write_archive
from robbench.store.bundle import MANIFEST
from robbench.tasks.bundle import bundle

HOW = "--threat linf:0.15 --limit 30 --attack pgd:steps=3 --quiet --out"


@pytest.fixture(scope="session")
def how() -> str:
    """The options of an attack that takes no time; an output folder comes next."""
    return HOW


@pytest.fixture(scope="module")
def attacked_at(
    trained: Path,
    cli: Callable[..., Any],
    for_all: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Path]:
    """A folder with a run of `at` with points, and one of `ce` without. Not to be written to."""
    out = shutil.copytree(trained, tmp_path_factory.mktemp("verify") / "S")
    for words in ("attack at --store-points", "attack ce"):
        done = cli(f"{words} {HOW}", out)
        assert done.code == 0, done.err
    with for_all(out):
        yield out


@pytest.fixture
def out(attacked_at: Path, tmp_path: Path) -> Path:
    """A copy to tamper with."""
    return shutil.copytree(attacked_at, tmp_path / "S")


@pytest.fixture(scope="session")
def table_of() -> Callable[[Path, str], Path]:
    """The file of a kind of table, of the run in a folder that has points."""

    def table_of(out: Path, kind: str) -> Path:
        (points,) = (out / "results" / "points").glob("*.parquet")
        return out / "results" / kind / points.name

    return table_of


@pytest.fixture
def packed(attacked_at: Path, tmp_path: Path) -> Path:
    """A bundle of the run of `at`."""
    return bundle(["at"], tmp_path / "at.zip", out=attacked_at).path


@pytest.fixture(scope="session")
def repack() -> Callable[..., None]:
    """Make a new bundle of a changed manifest and parts: `change(manifest, parts)`."""

    def repack(path: Path, change: Callable[..., Any]) -> None:
        with zipfile.ZipFile(path) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        manifest = json.loads(parts[MANIFEST])
        change(manifest, parts)
        parts[MANIFEST] = json.dumps(manifest).encode()
        write_archive(path, parts)

    return repack
