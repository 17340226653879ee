"""`robbench runs` lists the runs begun last where there are many, and says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from robbench.cli import show


@pytest.fixture
def five(tmp_path: Path, stored: Callable[..., Any]) -> Path:
    """An output folder of five runs, the last one begun first."""
    for age in range(5):
        stored(f"aaaa1111000{age}", age=-age)
    return tmp_path


def listed(text: str) -> list[str]:
    """The last signs of the run ids in a list."""
    return [word[-1] for word in text.split() if word.startswith("aaaa1111")]


def test_the_runs_begun_last_are_listed(
    cli: Callable[..., Any], five: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest of them first; of few runs all."""
    done = cli("runs --out", five)
    assert (listed(done.out), done.err) == (["4", "3", "2", "1", "0"], "")
    done = cli("runs --latest 2 --out", five)
    assert listed(done.out) == ["1", "0"]
    assert "the 2 runs begun last of 5; --latest all" in done.err
    monkeypatch.setattr(show, "MOST", 3)
    assert listed(cli("runs --out", five).out) == ["2", "1", "0"]
    assert len(listed(cli("runs --latest all --out", five).out)) == 5


def test_json_has_all_unless_told_otherwise(
    cli: Callable[..., Any], five: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program does not miss any."""
    monkeypatch.setattr(show, "MOST", 3)
    assert len(cli("runs --json --out", five).json["runs"]) == 5
    (row,) = cli("runs --json --latest 1 --out", five).json["runs"]
    assert row["run_id"] == "aaaa11110000"


@pytest.mark.parametrize("number", ["0", "-1", "x", "1.5"])
def test_a_number_that_is_none(cli: Callable[..., Any], five: Path, number: str) -> None:
    """One line, exit 2."""
    done = cli("runs --latest", number, "--out", five)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "a number of runs such as 500, or all" in done.err
