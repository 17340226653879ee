"""Texts of others, made harmless: properties for any text, and the samples of each kind."""

from __future__ import annotations

import csv
import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robbench.core.escaping import (
    csv_cell,
    markdown,
    one_line,
    printable,
    without_password,
    without_places,
)

TEXTS = st.text(max_size=40) | st.text("\x1b\x9b\u202e:[]#=+-@ \t\r\na0.e", max_size=12)


@given(TEXTS)
def test_a_terminal_gets_no_commands(text: str) -> None:
    """No control sign but tab and newline, no turned direction, no CI system's command."""
    found = printable(text)
    assert not any(unicodedata.category(c) == "Cc" and c not in "\t\n" for c in found)
    assert not any("\u202a" <= c <= "\u202e" or "\u2066" <= c <= "\u2069" for c in found)
    assert not any(line.lstrip().startswith("::") for line in found.split("\n"))
    assert "##[" not in found


@given(TEXTS)
def test_harmless_twice_is_harmless_once(text: str) -> None:
    """What was made harmless is left alone."""
    assert printable(printable(text)) == printable(text)
    assert one_line(one_line(text)) == one_line(text)


@given(TEXTS)
def test_one_line_is_one(text: str) -> None:
    """However a text separates its lines."""
    assert len(one_line(text).splitlines()) <= 1
    assert "\t" not in one_line(text)


@given(TEXTS)
def test_a_spreadsheet_gets_no_formula(text: str) -> None:
    """A cell begins with none of a formula's signs, unless it is a number; CSV keeps it whole."""
    found = csv_cell(text)
    if found.strip()[:1] in ("=", "+", "-", "@"):
        float(found)
    out = io.StringIO()
    csv.writer(out).writerow([found, "x"])
    assert next(csv.reader(io.StringIO(out.getvalue(), newline=""))) == [found, "x"]


@given(st.floats() | st.integers() | st.booleans() | st.none())
def test_numbers_pass(value: object) -> None:
    """As they are, and as text."""
    assert csv_cell(value) is value
    if isinstance(value, float | int) and not isinstance(value, bool):
        assert csv_cell(str(value)) == str(value)


@given(st.text("ab |*_`[]<>\\\n:/w.", max_size=20))
def test_markdown_shows_the_text_itself(text: str) -> None:
    """Without its backslashes it is the text in one line; no sign of its own is left bare."""
    found = markdown(text)
    assert "\n" not in found
    bare = []
    signs = iter(found)
    for sign in signs:
        if sign == "\\":
            next(signs)
        else:
            bare.append(sign)
    assert not set(bare) & set("|*_`[<>")


@pytest.mark.parametrize("link", ["https://x.y", "www.x.y", "<b>"])
def test_markdown_makes_no_link(link: str) -> None:
    assert link not in markdown(f"see {link}")


def test_single_texts():
    """What each leaves as it is, and what not."""
    assert printable("linf:8/255 [a]\n\tb ü 日本") == "linf:8/255 [a]\n\tb ü 日本"
    assert printable("a\x1b[31m\x9b\u2066") == "a?[31m??"
    assert one_line("a\nb\r\n\tc") == "a b c"
    assert printable("x\n  ::set-env::") == "x\n  ?::set-env::"
    assert printable("a::b") == "a::b"
    assert csv_cell("a=b") == "a=b"
    assert csv_cell("-0.5") == "-0.5"
    assert csv_cell("-1+cmd") == "'-1+cmd"
    assert csv_cell(-1.5) == -1.5
    assert markdown("a_b|c") == r"a\_b\|c"
    assert markdown("~~a~~ &lt;") == r"\~\~a\~\~ \&lt;"


@pytest.mark.parametrize(
    ("text", "published"),
    [
        ("linf:8/255", "linf:8/255"),
        ("csv:/home/u/my data/t.csv,label=ill", "csv:t.csv,label=ill"),
        ("timm:hf-hub:org/name", "timm:hf-hub:org/name"),
        ("folder:data/mine", "folder:data/mine"),
        ("~/x/y.npz", "y.npz"),
        ("~bob/x", "x"),
        ("../up/x", "x"),
        ("C:\\Users\\u\\w.pt", "w.pt"),
        ("file:///home/u/x", "x"),
        ("s3://user:password@bucket/runs/x.parquet", "x.parquet"),
        ("s3://user:password@host", "host"),
        ("https://user:password@host/x", "x"),
        ("npz:https://host/x.npz?token=a/b,c=1", "npz:https://host/x.npz,c=1"),
        ("see https://arxiv.org/abs/1 and /tmp/a/b.py", "see https://arxiv.org/abs/1 and b.py"),
        ("transfer:source=(/home/u/at)", "transfer:source=(at)"),
        ("pgd:steps=5,rate=1/4", "pgd:steps=5,rate=1/4"),
        ("npz:/home/u/ odd/x.npz", "npz:x.npz"),
        ("folder:/home/u/images/", "folder:images/"),
        ("(csv:../up/x/,label=ill)", "(csv:x/,label=ill)"),
        ("s3://user:password@bucket/", "bucket/"),
        ("s3://bucket/runs/ and file:///home/u/x", "runs/ and x"),
        ("a / b and/or c", "a / b and/or c"),
    ],
)
def test_what_is_published_has_no_places(text, published):
    """Of paths and addresses the last part; budgets, public addresses and models stay."""
    assert without_places(text) == published


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("--out sftp://me:pw@host/runs, x", "--out sftp://***@host/runs, x"),
        ("zip://a::sftp://me:p@w@host/x", "zip://a::sftp://***@host/x"),
        ("https://token@host", "https://***@host"),
        ("s3://bucket/at@last", "s3://bucket/at@last"),
        (
            "abfs://box@account/x abfss://box@account/x",
            "abfs://box@account/x abfss://box@account/x",
        ),
        ("memory:///me:pw@host/x", "memory://***@host/x"),
        ("file:///a@b/c:d@e", "file:///a@b/c:d@e"),
        ("at@best", "at@best"),
    ],
)
def test_passwords_of_addresses_are_seen_by_nobody(text, seen):
    """What else has an @ stays."""
    assert without_password(text) == without_password(seen) == seen
