"""Texts that others chose (names, notes, classes) made harmless where some signs are commands.

A terminal obeys escape sequences, a spreadsheet formulas, a CI system lines that begin with `::` or
hold `##[`, Markdown has signs of its own, and what is published should not tell of a machine.
"""

from __future__ import annotations

import re
from typing import Any

# Also those that turn the direction of text.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_COMMAND = re.compile(r"^(\s*)::", re.MULTILINE)
_PLACE = re.compile(
    r"(https?://[^\s@?]++)(?:\?[^\s,)]*+)?+(?!\S*@)"  # public, and kept but for its query
    r"|[A-Za-z][\w+.-]*://(?:[^/,;()\[\]\"'<>|\s]*/(?=[^/,;)\s]))*(?:[^@/,\s]*@)?"
    r"|(?<![\w.)\]])(?:[A-Za-z]:(?=[\\/])|~[^\s\\/]*|\.{1,2})?"
    r"[\\/]+(?=\S)(?:[^\\/,;:=()\[\]\"'<>|]*[\\/]+(?=\s*[^\\/,;)\s]))*"
)
# abfs://container@account tells no secret; fsspec writes what is in memory with three slashes.
_PASSWORD = re.compile(r"(?<!abfs)(?<!abfss)://(?:/[^/\s:]*:)?[^/\s]*@")
_FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\n]")


def printable(text: str) -> str:
    """For a terminal or a log: without control characters and commands to a CI system.

    Control characters but tab and newline become `?`.
    """
    return _COMMAND.sub(r"\1?::", _CONTROL.sub("?", text)).replace("##[", "#?[")


def one_line(text: str) -> str:
    """As `printable`, without newlines and tabs."""
    return printable(re.sub(r"[\r\n\t]+", " ", text))


def without_places(text: str) -> str:
    """For a published file: of each absolute path, address or path from here only the last part.

    What such names lead to says who works where. Passwords and queries of addresses go too.
    """
    return _PLACE.sub(lambda found: found[1] or "", text)


def without_password(text: str) -> str:
    """For whoever sees a screen or a file: without the user:password@ that addresses may carry."""
    return _PASSWORD.sub("://***@", text)


def public(text: Any) -> Any:
    """A text without places, control characters and line ends; None stays."""
    return None if text is None else one_line(without_places(str(text)))


def csv_cell(value: Any) -> Any:
    """For a spreadsheet: what would be a formula gets an apostrophe in front.

    Numbers pass, also as text.
    """
    if not isinstance(value, str):
        return value
    text = printable(value)
    if not _FORMULA.match(text):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def markdown(text: str) -> str:
    """For Markdown: one line without emphasis, code, links, HTML or ends of cells."""
    text = " ".join(one_line(text).split())
    for sign in ("\\", "|", "*", "_", "`", "[", "<", ">", "~", "&"):
        text = text.replace(sign, f"\\{sign}")
    return text.replace("://", ":\\//").replace("www.", "www\\.")
