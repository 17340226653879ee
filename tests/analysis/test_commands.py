"""Recorded command lines: a shell reads them as they were given, with their settings."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robbench.analysis.commands import (
    Command,
    about_runs,
    attack_command,
    recorded_command,
    shared_settings,
)

WORDS = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12))
SETTINGS = st.dictionaries(
    st.from_regex(r"ROBBENCH_[A-Z]{1,6}", fullmatch=True), st.text(max_size=12), max_size=3
)


@given(WORDS, SETTINGS)
def test_a_shell_gets_the_words_back(words: list[str], settings: dict[str, str]) -> None:
    """Spaces, quotes and line ends included; the program's folder and foreign variables are not."""
    facts = {"argv": ["/opt/bin/robbench", *words], "env": {**settings, "PATH": "/bin"}}
    found = recorded_command(facts)
    assert found is not None
    assert shlex.split(found.line) == ["robbench", *words]
    assert found.settings == settings
    split = shlex.split(found.without({}))
    assert split[: len(settings)] == [f"{name}={value}" for name, value in settings.items()]
    assert split[len(settings) :] == ["robbench", *words]
    assert found.without(settings) == found.line


@pytest.mark.parametrize(
    ("argv", "known"),
    [
        (["robbench", "attack"], True),
        (["/a/b/robbench", "attack"], True),
        (["/a/robbench/__main__.py", "attack"], True),
        (["robbench.exe", "attack"], True),
        (["/usr/bin/pytest", "robbench"], False),
        (["notebook.py"], False),
        ([], False),
        (None, False),
    ],
)
def test_another_program_has_no_command_of_ours(argv: Any, known: bool) -> None:
    """What a notebook did cannot be repeated by one line."""
    assert (recorded_command({"argv": argv}) is not None) == known


def _row(**changes: Any) -> dict[str, Any]:
    return {
        "tags": None,
        "provenance": "{}",
        "model": "at",
        "attack": "pgd:steps=10 + apgd",
        "threat": "linf:8/255",
        "data": "cifar10[airplane,horse]",
        "split": "test",
        "seed": 3,
        "subset": "limit=60",
    } | changes


def test_a_run_without_a_record_has_one_made_of_its_row() -> None:
    """One --attack for each of the cascade; the number of samples only where it is a part."""
    words = shlex.split(attack_command(_row()).line)
    assert words[:3] == ["robbench", "attack", "at"]
    given = list(zip(words[3::2], words[4::2], strict=True))
    assert [value for option, value in given if option == "--attack"] == ["pgd:steps=10", "apgd"]
    assert dict(given) | {"--attack": ""} == {
        "--attack": "",
        "--threat": "linf:8/255",
        "--data": "cifar10[airplane,horse]",
        "--split": "test",
        "--seed": "3",
        "--limit": "60",
    }
    assert "--limit" not in attack_command(_row(subset=None)).line


def test_an_audit_is_in_the_command() -> None:
    """Its size, its attacks, and whether it is adaptive."""
    asked = {"audit": 300, "adaptive": True}
    row = _row(audit_attack="apgd + square", config=json.dumps(asked))
    said = "--audit 300 --adaptive --audit-attack apgd --audit-attack square --threat"
    assert said in attack_command(row).line
    assert (
        "adaptive"
        not in attack_command(row | {"config": json.dumps({**asked, "adaptive": False})}).line
    )


def test_the_record_comes_first() -> None:
    """It has options that no row has."""
    argv = json.dumps({"argv": ["/bin/robbench", "attack", "at", "--tag", "a b"]})
    assert attack_command(_row(provenance=argv)).line == "robbench attack at --tag 'a b'"


@given(st.lists(SETTINGS, max_size=4))
def test_shared_settings_are_the_intersection(settings: list[dict[str, str]]) -> None:
    """Names with their values, of all."""
    found = shared_settings([Command("robbench", each) for each in settings])
    pairs = [set(each.items()) for each in settings]
    assert set(found.items()) == (set.intersection(*pairs) if pairs else set())


def test_a_suggested_command_is_about_these_runs() -> None:
    """Few by their ids, many by their models; private code anywhere in one asks for trust."""
    row = {"model": "at", "model_source": None, "model_arch": "small-cnn", "data": "digits"}
    rows = [row | {"run_id": f"{i:04}", "attack_params": '["pgd:steps=5"]'} for i in range(5)]
    assert about_runs("measure", rows[:2], None) == "robbench measure 0000 0001"
    assert about_runs("measure", rows, Path("x")) == "robbench measure at --out x"
    own = rows[0] | {"data": "mine:pictures"}
    assert about_runs("check", [own], Path("x")) == "robbench check 0000 --trust-code --out x"


@pytest.mark.parametrize("shard", [["--shard", "2/8"], ["--shard=slurm"]])
def test_a_part_is_recorded_as_the_command_of_the_whole(shard):
    """One part does not give the run; a value that looks alike stays."""
    words = ["/bin/robbench", "attack", "at", *shard, "--tag", "shard", "--limit", "9"]
    found = recorded_command({"argv": words})
    assert found is not None
    assert found.line == "robbench attack at --tag shard --limit 9"
