"""Results to look at, and data sets that are not what they should be."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _on_one_thread(one_thread: None) -> None:
    """Small models only."""


@pytest.fixture(scope="session")
def attacked(
    trained: Path, cli: Callable, for_all: Callable, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The output folder after the third command. Not to be written to."""
    out = shutil.copytree(trained, tmp_path_factory.mktemp("attacked") / "S")
    words = shlex.split(
        "attack ce at --attack pgd:steps=10 --attack apgd --threat linf:0.15 --limit 100 --out"
    )
    done = cli(*words, out)
    assert done.code == 0, done.err
    with for_all(out):
        yield out
