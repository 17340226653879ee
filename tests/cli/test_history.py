"""`robbench history`: its table, its JSON, and what it refuses."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from robbench.cli import history

Cli = Callable[..., Any]


@pytest.fixture
def four(tmp_path: Path, stored: Callable[..., Any], make_samples: Callable[..., Any]) -> Path:
    """Runs of ce on four days, the last two of a much weaker model."""
    for i, chance in enumerate((0.1, 0.1, 0.8, 0.8)):
        rows = make_samples(100, 1, chance)
        stored(f"aaaa1111000{i}", rows, age=86400 * i, model_hash=f"w{i}")
    return tmp_path


def test_the_table_and_the_change_point(cli: Cli, four: Path) -> None:
    """Off a terminal the line of values is ASCII, and a run is on one line."""
    done = cli("history ce --out", four)
    assert (done.code, done.err) == (0, "")
    assert "change point at aaaa11" in done.out
    assert "^^|__" in done.out
    assert sum(line.startswith("aaaa11 ") for line in done.out.splitlines()) == 4


def test_the_json_object(cli: Cli, four: Path) -> None:
    """Values as counted from the samples; the last runs only where that is asked."""
    found = cli("history ce --json --out", four).json
    assert (found["schema"], found["alpha"]) == ("robbench.history/1", 0.05)
    (only,) = found["histories"]
    assert [run["run_id"][-1] for run in only["runs"]] == list("0123")
    assert only["changes"][0]["run_id"] == "aaaa11110002"
    (only,) = cli("history ce --json --last 2 --out", four).json["histories"]
    assert ([run["run_id"][-1] for run in only["runs"]], only["older"]) == (["2", "3"], 2)
    (only,) = cli("history ce --json --measure clean_accuracy --out", four).json["histories"]
    assert only["measure"] == "clean_accuracy"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("ce --last 0", "--last 0: give a number of runs"),
        ("ce --last x", "--last x: give a number of runs"),
        ("ce --measure robust", "unknown measure 'robust'"),
        ("ce --measure median_distance", "no run of these has median_distance"),
        ("nobody", "unknown model, run or path 'nobody'"),
        ("ce --where threat=linf:9", "no run has threat=linf:9"),
    ],
)
def test_bad_input(cli: Cli, four: Path, words: str, said: str) -> None:
    """One line, exit 2."""
    done = cli(f"history {words} --out", four)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert said in done.err


class _Terminal(io.StringIO):
    def __init__(self, encoding: str, terminal: bool) -> None:
        super().__init__()
        self._encoding, self._terminal = encoding, terminal

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return self._terminal


@pytest.mark.parametrize(
    ("encoding", "terminal", "no_color", "blocks"),
    [
        ("utf-8", True, "", True),
        ("utf-8", False, "", False),
        ("utf-8", True, "1", False),
        ("ascii", True, "", False),
        ("no such", True, "", False),
    ],
)
def test_where_blocks_are_drawn(
    monkeypatch: pytest.MonkeyPatch, encoding: str, terminal: bool, no_color: str, blocks: bool
) -> None:
    """On a terminal whose encoding has them, unless NO_COLOR says that it should be plain."""
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setattr(history, "results", lambda: _Terminal(encoding, terminal))
    assert history._shows_blocks() == blocks
