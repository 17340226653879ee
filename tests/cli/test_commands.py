"""`robbench explain` of the commands themselves."""

from __future__ import annotations

import re

import pytest

from robbench.catalogue.builtins import REGISTRIES
from robbench.cli.commands import commands
from robbench.core.config import COMMANDS
from robbench.guide import read_page


@pytest.mark.parametrize("name", sorted(set(commands()) - set(COMMANDS)))
def test_a_command(cli, name):
    """Its help text, its pages; then what else has its name, and what it means."""
    done = cli("explain", name)
    assert done.code == 0, done.err
    assert max(map(len, done.out.splitlines())) <= 80
    _, summary, *_ = re.split(r"\n\s*\n", cli(name, "--help").out.strip())
    shown = " ".join(done.out.split())
    assert " ".join(summary.split()) in shown
    assert f"flags: robbench {name} --help" in shown
    entry, *words = cli("explain", name, "--json").json["entries"]
    assert (entry["kind"], entry["name"]) == ("command", name)
    assert all(f"robbench {name}" in read_page(page).text for page in entry["pages"])
    also = {kind for kind, registry in REGISTRIES.items() if name in registry.entries}
    assert {word["kind"] for word in words} - {"word"} == also


def test_a_command_and_the_word_for_what_it_makes(cli):
    """Pages with the most uses come first; passages that only use the word are left out."""
    command, word = cli("explain sweep --json").json["entries"]
    assert command["pages"][0] == "sweeps"
    assert any("**sweep**" in passage["text"] for passage in word["passages"])
    assert len(cli("explain plot --json").json["entries"]) == 1


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_with_settings(cli, name):
    """Its help text stands above them."""
    shown = " ".join(cli("explain", name).out.split())
    assert all(" ".join(part.split()) in shown for part in commands()[name].split("\n\n"))
    assert "--set KEY=VALUE" in shown
