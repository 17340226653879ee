"""Errors and messages from Python name parameters; the command line's name flags."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import logging
import re
from pathlib import Path

import pytest

import robbench
from robbench.api.wording import in_python
from robbench.cli.commands import commands
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.train.config import TrainConfig

SHELL_ONLY = {"allow_files", "columns", "dry_run", "fail_on", "json", "pivot", "set", "trust_code"}
OF_OTHERS = {"check", "get_regexp", "ignore_submodules", "name_only", "no_pager", "porcelain"}
OF_OTHERS |= {"array", "force_reinstall", "nproc_per_node", "standalone", "untracked_files"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("choose another --name", "choose another name"),
        ("give --batch-size 2 or more", "give batch_size 2 or more"),
        ("--force to replace it", "force=True to replace it"),
        ("(--store-points keeps them)", "(store_points=True keeps them)"),
        ("--from ce: it is small", "from_model ce: it is small"),
        ("with --where attack=apgd:steps=10, or", 'with where="attack=apgd:steps=10", or'),
        ("--where 'attack=a, b' or --allow data.", 'where="attack=a, b" or allow="data".'),
        ("run robbench compare a --allow attack", None),
        ("run first robbench train --data digits --name ce", None),
        ("run robbench attack ce --limit 9, then give --limit", None),
        ("no pair: pip install --force-reinstall torch torchvision", None),
        ("folder a--b and a ---dash", "folder a--b and a ---dash"),
    ],
)
def test_flags_become_parameters(text, expected):
    """But for those of a command to copy."""
    if expected is None:
        expected = text.replace("give --limit", "give limit")
    assert in_python(text) == expected


def test_each_command_of_the_shell_is_known():
    """A new one is left as it is, too."""
    texts = [f"run robbench {name} a --limit 3" for name in commands()]
    assert [in_python(text) for text in texts] == texts


def _flags_in_messages() -> set[str]:
    """Every flag in a string of the library that is no docstring, as a parameter."""
    found = set()
    root = Path(robbench.__file__).parent
    for path in root.rglob("*.py"):
        if path.is_relative_to(root / "cli"):
            continue
        tree = ast.parse(path.read_text())
        plain = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Constant) or id(node) in plain:
                continue
            texts = re.findall(r"(?<![\w-])--[a-z][a-z-]*", str(node.value))
            found |= {in_python(text).partition("=")[0] for text in texts}
    return found


def test_every_flag_in_a_message_has_its_parameter():
    """Of a function, or a setting of train or attack."""
    functions = [getattr(robbench, name) for name in robbench.__all__]
    known = {
        name
        for function in functions
        if inspect.isfunction(function)
        for name in inspect.signature(function).parameters
    }
    known |= {
        field.name for config in (TrainConfig, AttackConfig) for field in dataclasses.fields(config)
    }
    found = _flags_in_messages()
    assert {"from_model", "max_time", "limit"} <= found
    assert found - known - SHELL_ONLY - OF_OTHERS == set()


def test_errors_from_python_name_parameters(tmp_path, trained_here):
    """Of train, attack, compare and check; the same line of the shell names flags."""
    robbench.attack("m", "fgsm", "linf:0.1", limit=20, out=trained_here)
    tried = [
        (lambda: robbench.train(from_model="m", name="m", out=trained_here), "from_model m"),
        (lambda: robbench.train("trades", name="m", out=trained_here), "force=True"),
        (lambda: robbench.train(inner="nowhere:A", device="cuda:99", out=tmp_path), "device auto"),
        (lambda: robbench.compare(where="model", out=trained_here), "where 'model'"),
        (lambda: robbench.check("m", out=Path("s3://bucket/x")), "out s3:"),
    ]
    for call, words in tried:
        with pytest.raises(robbench.UserError) as raised:
            call()
        assert words in str(raised.value)
        assert "--" not in str(raised.value)


def test_the_log_names_parameters(trained_here, settings, caplog):
    """What has been done already says how to do it again."""
    with caplog.at_level(logging.INFO, logger="robbench"):
        robbench.train("cross-entropy", data="digits", name="m", out=trained_here, **settings)
    assert "nothing to do (force=True trains again)" in caplog.text
