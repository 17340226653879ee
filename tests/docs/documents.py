"""The README and the pages of the manual, taken apart into what can be run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from robbench.guide import FOLDER

ROOT = Path(__file__).parents[2]
DOCUMENTS = {
    path.stem: path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted(FOLDER.glob("*.md")))
}
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """A fenced block: its language and its lines."""

    language: str
    text: str

    @property
    def file(self) -> str | None:
        """`my_losses.py`, where the block is a file of that name."""
        found = re.match(r"# (\w+\.py)\n", self.text)
        return found[1] if found else None

    @property
    def commands(self) -> list[tuple[str, str]]:
        """Its robbench commands, each with the comment behind it."""
        lines = self.text.splitlines() if self.language == "bash" else []
        split = (line.partition("  #") for line in lines if line.startswith("robbench "))
        return [(command.strip(), comment.strip()) for command, _, comment in split]


def blocks(name: str) -> list[Block]:
    """The fenced blocks of a document, in order."""
    return [Block(*found) for found in _BLOCK.findall(DOCUMENTS[name])]
