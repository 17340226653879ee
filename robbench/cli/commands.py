"""What the commands are, for `robbench explain`."""

from __future__ import annotations

import re
from typing import Any

import typer

from robbench.guide import TOPICS, read_page

MOST = 3  # pages that a command's entry names


def commands() -> dict[str, str]:
    """Each command with its help text."""
    from robbench.cli.app import app  # which imports `explain`

    group: Any = typer.main.get_command(app)
    return {name: command.help or "" for name, command in group.commands.items()}


def command_entry(name: str) -> dict[str, Any]:
    """The entry of a command: its help text, and the pages that use it most, the first in front."""
    used = re.compile(rf"\brobbench {re.escape(name)}\b")
    times = {topic: len(used.findall(read_page(topic).text)) for topic in TOPICS}
    pages = sorted((topic for topic in TOPICS if times[topic]), key=lambda topic: -times[topic])
    return {"kind": "command", "name": name, "doc": commands()[name], "pages": pages[:MOST]}
