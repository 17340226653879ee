"""Recorded command lines: a shell reads them as they were given, with their settings."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.main import get_command

import robbench as package
from robbench.analysis.commands import (
    Command,
    about_runs,
    attack_command,
    recorded_command,
    shared_settings,
)
from robbench.cli.app import app
from robbench.core.spec import validate
from robbench.tasks.attack.config import AttackConfig

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
        "norm": "linf",
        "threat": "linf:8/255",
        "model_arch": "mlp",
        "loss": "ce",
        "attack_params": "[]",
        "data": "cifar10[airplane,horse]",
        "split": "test",
        "seed": 3,
        "subset": "first=60",
    } | changes


def _line(row: dict[str, Any]) -> str:
    found = attack_command(row)
    assert found is not None
    return found.line


UNUSUAL: dict[str, Any] = {
    "attack": ("pgd:steps=3", "square"),
    "audit": 30,
    "audit_attack": ("apgd:steps=9",),
    "adaptive": True,
    "threat": ("linf:0.05,0.1", "linf:0.2"),
    "target": "least-likely",
    "data": "digits[3,8]",
    "split": "train",
    "limit": "stratified=20",
    "seed": 7,
    "batch_size": 33,
    "precision": "fp64",
    "compile": True,
    "max_time": "90.5s",
    "max_queries": 4,
    "store_points": True,
    "replay": ("ce", "0123456789ab"),
    "name": "called so",
    "tag": ("night=3", "-odd"),
    "measure": True,
}
"""For each setting of an attack a value that is not the usual one."""


def _made_with(settings: dict[str, Any]) -> dict[str, Any]:
    """The row of a run that was made with some settings; the columns that repeat them as well."""
    config = validate(AttackConfig, settings, "attack")
    given = dataclasses.asdict(config)
    if config.max_time is not None:
        given["max_time"] = f"{config.max_time}s"
    threat = "linf:0.1" if config.threat else "linf:8/255"
    return _row(
        threat=threat if config.target is None else f"{threat} -> {config.target}",
        data=config.data or "digits",
        split=config.split,
        seed=config.seed,
        subset=None if config.limit is None else str(config.limit),
        attack=" + ".join(config.attack or ("apgd",)),
        audit_attack=" + ".join(config.audit_attack or ("autoattack",)) if config.audit else None,
        model=config.name or "at",
        model_source="at" if config.name else None,
        tags=json.dumps(config.tag),
        config=json.dumps(given),
    )


def _read(line: str) -> AttackConfig:
    """The settings that `robbench attack` reads from a command line."""
    words = shlex.split(line)
    assert words[:3] == ["robbench", "attack", "at"]
    given = get_command(app).commands["attack"].make_context("attack", words[2:]).params
    called = {"attacks": "attack", "compile_": "compile"}
    settings = {called.get(name, name): value for name, value in given.items()}
    known = {field.name for field in dataclasses.fields(AttackConfig)}
    return validate(
        AttackConfig,
        {name: value for name, value in settings.items() if name in known and value},
        "attack",
    )


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(AttackConfig)])
def test_every_setting_is_in_the_command(name: str) -> None:
    """Alone, and among all others: the command reads the value that the run was made with."""
    alone = {name: UNUSUAL[name]}
    if name in ("audit_attack", "adaptive"):
        alone["audit"] = 30
    for settings in (alone, UNUSUAL):
        wanted = getattr(validate(AttackConfig, settings, "attack"), name)
        assert wanted != getattr(AttackConfig(), name)
        assert getattr(_read(_line(_made_with(settings))), name) == wanted


def test_what_was_given_in_a_program_has_no_command() -> None:
    """A model, data or an attack that no other process finds; nor has a gate's own run."""
    assert attack_command(_row()) is not None
    assert attack_command(_row(data="memory")) is None
    assert attack_command(_row(model="net", model_arch="mine:Net", loss=None)) is None
    assert attack_command(_row(attack="__main__:Mine")) is None
    assert attack_command(_row(config=json.dumps({"gate": {"max_drop": 1}}))) is None


def test_private_code_asks_for_trust() -> None:
    """As the command does that reads a saved model of one's own."""
    assert _line(_row(model_arch="mine:Net")).endswith(" --trust-code")


def test_the_command_of_a_program_finds_its_runs(cli: Any, store: Path) -> None:
    """Runs made from Python: the command plans those runs, which are there already."""
    (first,) = package.attack("ce", "fgsm", "linf:0.1", limit=9, store_points=True, out=store)
    made = package.attack(
        "ce",
        ["pgd:steps=3", "fgsm"],
        "linf:0.05,0.1",
        limit="stratified=20",
        max_queries=4,
        precision="fp64",
        replay=first.info["run_id"],
        seed=3,
        out=store,
    )
    lines = {_line(one.info) for one in made}
    assert len(lines) == 1
    done = cli(f"{lines.pop().removeprefix('robbench ')} --dry-run --out {store}")
    assert done.code == 0, done.err
    planned = json.loads(done.out)["runs"]
    assert [run["run_id"] for run in planned] == [one.info["run_id"] for one in made]
    assert all(run["done"] for run in planned)


def test_a_run_without_a_record_has_one_made_of_its_row() -> None:
    """One --attack for each of the cascade; the number of samples only where it is a part."""
    words = shlex.split(_line(_row()))
    assert words[:3] == ["robbench", "attack", "at"]
    given = list(zip(words[3::2], words[4::2], strict=True))
    assert [value for option, value in given if option == "--attack"] == ["pgd:steps=10", "apgd"]
    assert dict(given) | {"--attack": ""} == {
        "--attack": "",
        "--threat": "linf:8/255",
        "--data": "cifar10[airplane,horse]",
        "--split": "test",
        "--seed": "3",
        "--limit": "first=60",
    }
    assert "--limit" not in _line(_row(subset=None))


def test_an_audit_is_in_the_command() -> None:
    """Its size, its attacks, and whether it is adaptive."""
    asked = {"audit": 300, "adaptive": True}
    row = _row(audit_attack="apgd + square", config=json.dumps(asked))
    said = "--audit 300 --adaptive --audit-attack apgd --audit-attack square --threat"
    assert said in _line(row)
    assert "adaptive" not in _line(row | {"config": json.dumps({**asked, "adaptive": False})})


def test_the_record_comes_first() -> None:
    """It has options that no row has."""
    argv = json.dumps({"argv": ["/bin/robbench", "attack", "at", "--tag", "a b"]})
    assert _line(_row(provenance=argv)) == "robbench attack at --tag 'a b'"


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
