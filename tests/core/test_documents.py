"""TOML and JSON that cannot be read: one error that names the document, whatever is wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from robbench.core.documents import DEEPEST, MOST_BYTES, parse_json, read_text, read_toml
from robbench.core.errors import UserError

BAD_TOML = {
    "no TOML": b"a == 3",
    "no text": b"\xff\xfe\x00",
    "a number of 5,000 digits": b"a = " + b"9" * 5000,
    "deep lists": b"a = " + b"[" * 100_000,
    "deep and closed": b"a = " + b"[" * 300 + b"]" * 300,
    "deep keys": b"a" + b".a" * 3000 + b" = 1",
    "too long": b"#" * (MOST_BYTES + 1),
}


@pytest.mark.parametrize("case", BAD_TOML)
def test_toml_that_cannot_be_read(tmp_path: Path, case: str) -> None:
    """Every kind of damage is a UserError that names the file and the kind of document."""
    file = tmp_path / "c.toml"
    file.write_bytes(BAD_TOML[case])
    with pytest.raises(UserError, match=r"the config file .*c\.toml"):
        read_toml(file, "the config file")


def test_a_nested_document_is_read_to_the_allowed_depth() -> None:
    """As many levels as are allowed pass, one more does not."""
    assert parse_json("[" * DEEPEST + "]" * DEEPEST, "x")
    with pytest.raises(UserError, match="x is nested"):
        parse_json("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), "x")


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "9" * 5000, "{'a': 1}", "nil"])
def test_json_that_cannot_be_read(text: str) -> None:
    """Text that is no JSON, too: digits without end, brackets without end."""
    with pytest.raises(UserError, match="column a is not valid JSON"):
        parse_json(text, "column a")


def test_a_key_that_is_there_twice_is_refused() -> None:
    """At any depth, whatever its values; the same key in two objects is none."""
    for text in ('{"a": 1, "a": 1}', '[{"b": {"c": 0, "a": 1, "d": 2, "a": [3]}}]'):
        with pytest.raises(UserError, match="x is not valid JSON: key 'a' is there twice"):
            parse_json(text, "x")
    assert parse_json('{"a": {"a": 1}, "b": {"a": 2}}', "x") == {"a": {"a": 1}, "b": {"a": 2}}


def test_what_never_ends_is_not_opened(tmp_path: Path) -> None:
    """A pipe that nobody writes to, and a device: refused at once."""
    os.mkfifo(tmp_path / "pipe")
    for path in (
        tmp_path / "pipe",
        Path("/dev/zero"),
        tmp_path / "missing",
        tmp_path,
        tmp_path / ("n" * 300),
    ):
        with pytest.raises(UserError, match=r"the config file|device"):
            read_text(path, "the config file", "TOML")
