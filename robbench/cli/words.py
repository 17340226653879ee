"""What flags and the manual's own words mean: a norm, a column of a table, a term."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from robbench.core.corruptions import PREFIX, expand
from robbench.guide import TOPICS, read_page

MOST = 3  # passages that merely mention a word


def flag_entries(name: str) -> list[dict[str, Any]]:
    """The entry of a warning that runs carry, with dots for what depends on the run; else none."""
    from robbench.engine.advice import TEXTS  # loads torch

    if name not in TEXTS:
        return []
    text = re.sub(r"\{[^}]*\}", "...", TEXTS[name])
    return [
        {
            "kind": "flag",
            "name": name,
            "doc": text if text.strip(".") else "the warning itself says what was found",
        }
    ]


def phrase_entries(name: str) -> list[dict[str, Any]]:
    """The entry of a word or phrase of the manual, else of the longest end of it that is one."""
    words = name.split(" ")
    ends = (word_entries(" ".join(words[n:])) for n in range(len(words)))
    return next(filter(None, ends), [])


def word_entries(name: str, *, defined: bool = False) -> list[dict[str, Any]]:
    """The entry of a word of the manual: the passages that define it, else the first that use it.

    A word is what a page sets in bold or as code, also a flag without its dashes and value; a row
    or item that begins with it defines it. Terms of the vocabulary come first, also longer ones
    that have it in them. A word that is nowhere set so may head a section, in any case. None for
    any other word, and with `defined` for one that is only used.
    """
    word = re.escape(name)
    marked = re.compile(rf"\*\*{word}\*\*|`{word}`|`--{word}(?: [^`]*)?`")
    within = re.compile(rf"\*\*(?:[^*]+ )?{word}(?: [^*]+)?\*\*")
    uses: list[dict[str, str]] = []
    defines: list[tuple[int, dict[str, str]]] = []
    headed: list[dict[str, str]] = []
    for topic in TOPICS:
        text = read_page(topic).text
        if opening := _opening(text, name):
            headed.append({"topic": topic, "text": opening})
        for passage in _passages(text):
            here, head = {"topic": topic, "text": passage}, _head(passage)
            uses += [here] if marked.search(passage) else []
            if topic == "vocabulary" and within.search(head):
                defines.append((0 if marked.search(head) else 1, here))
            elif marked.search(head):
                # A term, what the whole head is about, or one of several names in it.
                whole = head.strip("|- ") == f"`{name}`"
                defines.append((2 if f"**{name}**" in head else 3 if whole else 4, here))
    found = [here for _, here in sorted(defines, key=lambda one: one[0])]
    found = found or ([] if defined else uses[:MOST] or headed)
    return [{"kind": "word", "name": name, "passages": found}] if found else []


def corruption_entries(name: str) -> list[dict[str, Any]]:
    """What the manual says of the corruptions of a threat model such as `corruption:fog@3`.

    Raises UserError with the nearest names for a corruption that is none.
    """
    kinds = dict.fromkeys(kind for kind, _ in expand(name.removeprefix(PREFIX)))
    return [entry for kind in kinds for entry in word_entries(PREFIX + kind)]


def _head(passage: str) -> str:
    """What a row of a table or an item of a list says something about."""
    if passage.startswith("| "):
        return passage.split(" | ")[0]
    head, colon, _ = passage.partition(": ")
    return head if colon and passage.startswith("- ") else ""


def _opening(text: str, heading: str) -> str | None:
    """The first paragraph below a heading; None without such a heading or paragraph."""
    for section in re.split(r"^##+ ", text, flags=re.MULTILINE)[1:]:
        title, _, body = section.partition("\n")
        if _plain(title) == _plain(heading):
            return next((p for p in _passages(body) if not p.startswith(("|", "- "))), None)
    return None


def _plain(heading: str) -> str:
    return heading.casefold().replace("-", " ")


def _passages(text: str) -> Iterator[str]:
    """Rows of tables, items of lists and paragraphs, each as one line; no code, no headings."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    for block in re.split(r"\n\n+|\n(?=[-|#] ?)", text):
        if block.strip() and not block.startswith("#"):
            yield " ".join(block.split())
