"""The manual: one Markdown page per topic, shown by `robbench explain TOPIC`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from robbench.core.errors import unknown

FOLDER = Path(__file__).parent
TOPICS = (
    "running",
    "models",
    "python-api",
    "reading-the-numbers",
    "comparing",
    "looking-at-samples",
    "sweeps",
    "clusters",
    "checks",
    "verification",
    "model-cards",
    "certificates",
    "gate-and-ci",
    "over-time",
    "other-tools",
    "attacks",
    "corruptions",
    "losses",
    "data",
    "papers",
    "results",
    "vocabulary",
    "extending",
    "speed",
    "architecture",
    "contributing",
)
"""In the order they are read."""


class Page(NamedTuple):
    """A page of the manual."""

    topic: str
    title: str
    summary: str  # its first sentence
    text: str  # Markdown, without the marks around generated parts


def read_page(topic: str) -> Page:
    """A page by its topic. Raises UserError with the nearest topics."""
    if topic not in TOPICS:
        raise unknown("topic", topic, TOPICS)
    text = (FOLDER / f"{topic}.md").read_text(encoding="utf-8")
    text = re.sub(r"<!-- .*? -->\n", "", text)
    title, _, rest = text.partition("\n")
    summary = re.split(r"(?<=\.)\s", rest.strip(), maxsplit=1)[0]
    return Page(topic, title.removeprefix("# "), " ".join(summary.split()), text)
