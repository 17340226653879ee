"""Runs to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def looked_at(
    tiny: list[str],
    cli: Callable[..., Any],
    for_all: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Path]:
    """A store with a tiny model, attacked with and without points. Not to be written to."""
    out = tmp_path_factory.mktemp("view") / "S"
    assert cli("", *tiny, "--out", out).code == 0
    for line in (
        "attack m --attack pgd:steps=4,init=clean,objective=margin --threat linf:0.2 --limit 30 "
        "--store-points",
        "attack m --attack fgsm --threat l2:0.5 --limit 20",
    ):
        done = cli(line, "--quiet", "--out", out)
        assert done.code == 0, done.err
    with for_all(out):
        yield out
