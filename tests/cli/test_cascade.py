"""`robbench cascade suggest`: table, JSON, file and refusals."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import robbench


def test_the_table_ends_with_the_command(
    attacked: Path, cli: Callable[..., Any], tmp_path: Path
) -> None:
    """The last line is what to do next; Python and JSON say the same."""
    file = tmp_path / "mine.toml"
    done = cli("cascade suggest ce at --out", attacked, "--toml", file)
    assert done.code == 0, done.err
    last = done.out.splitlines()[-1]
    assert last == f"robbench attack MODEL --attack {file} --threat linf:0.15 --audit 300"
    shown = cli("cascade suggest --json --out", attacked).json
    assert shown["schema"] == "robbench.cascade/1"
    assert shown["attacks"] == tomllib.loads(file.read_text())["attacks"]
    assert all(spec in done.out for spec in shown["attacks"])
    assert shown["file"] is None
    assert f"--attack {shown['attacks'][0]}" in shown["command"]
    made = robbench.cascade_suggest(["ce", "at"], out=attacked)
    assert list(made.found.attacks) == shown["attacks"]
    assert json.loads(json.dumps(made.fields()["it"])) == shown["it"]
    assert {one["spec"] for one in shown["candidates"]} == {"pgd:steps=10", "apgd"}


def test_it_does_not_overwrite(attacked: Path, cli: Callable[..., Any], tmp_path: Path) -> None:
    """Without --force; and it says how."""
    file = tmp_path / "mine.toml"
    file.write_text("mine")
    done = cli("cascade suggest --out", attacked, "--toml", file)
    assert (done.code, done.out, file.read_text()) == (2, "", "mine")
    assert "--force" in done.err
    assert cli("cascade suggest --quiet --force --out", attacked, "--toml", file).code == 0
    assert "attacks = [" in file.read_text()


def test_a_limit_that_is_none(attacked: Path, cli: Callable[..., Any]) -> None:
    """0 queries, or fewer than any attack makes."""
    for option in ("--max-queries 0", "--seed -1"):
        assert cli(f"cascade suggest {option} --out", attacked).code == 2
    done = cli("cascade suggest --max-queries 3 --out", attacked)
    assert done.code == 2
    assert "raise --max-queries" in done.err
