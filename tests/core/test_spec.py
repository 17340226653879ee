"""Spec strings: parsing, printing, numbers and the messages for what is malformed."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Annotated, Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import Field

from robbench.core.errors import UserError
from robbench.core.spec import (
    Number,
    Spec,
    build,
    canonical_json,
    parse_number,
    parse_spec,
    short_hash,
    split_items,
)

NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)
KEYS = st.from_regex(r"[a-z][a-z0-9_]{0,6}", fullmatch=True)
PLAIN = st.from_regex(r"[A-Za-z0-9_./+-]{1,10}", fullmatch=True)


def _text(value: str) -> str:
    return f"({value})" if any(char in value for char in ",=") else value


# Values as they occur: words, lists in brackets, and whole specs, nested up to three deep.
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.one_of(
        st.lists(PLAIN, min_size=2, max_size=3).map(lambda items: "[" + ",".join(items) + "]"),
        st.builds(
            lambda name, options: (
                name + ":" + ",".join(f"{key}={_text(value)}" for key, value in options.items())
            ),
            NAMES,
            st.dictionaries(KEYS, inner, min_size=1, max_size=3),
        ),
    ),
    max_leaves=4,
)
SPECS = st.builds(Spec, NAMES, st.none() | PLAIN, st.dictionaries(KEYS, VALUES, max_size=4))


@given(SPECS)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_parsing_what_was_printed_gives_the_same_spec(spec: Spec) -> None:
    """parse(str(spec)) == spec for every name, bare argument and options, nested specs included."""
    assert parse_spec(str(spec)) == spec


@pytest.mark.parametrize(
    "text", ["a:b=((x))", "a:b=(x)", "a:b=(x)(y)", "a:b=(p:q=1)+(r:s=2)", "a:b=((x)(y))"]
)
def test_printing_a_parsed_spec_loses_nothing(text: str) -> None:
    """A spec, printed and parsed again, is the same, whatever parentheses its values have."""
    spec = parse_spec(text)
    assert parse_spec(str(spec)) == spec


def test_only_a_pair_that_belongs_together_is_dropped() -> None:
    """`(x)(y)` is not one pair of parentheses around a value."""
    assert parse_spec("a:b=(x)(y)").options == {"b": "(x)(y)"}
    assert parse_spec("a:b=(x,y)").options == {"b": "x,y"}


def test_a_spec_can_be_the_value_of_another() -> None:
    """Commas and colons inside parentheses belong to the inner spec, at any depth."""
    outer = parse_spec(
        "seat:inner=(awp:loss=(trades:beta=6,inner=(pgd:steps=10,rate=0.1)),gamma=0.005),"
        "decay=0.999"
    )
    assert outer.name == "seat"
    assert outer.options["decay"] == "0.999"
    middle = parse_spec(outer.options["inner"])
    assert middle.options["gamma"] == "0.005"
    inner = parse_spec(middle.options["loss"])
    assert inner == Spec("trades", None, {"beta": "6", "inner": "pgd:steps=10,rate=0.1"})
    assert parse_spec(inner.options["inner"]).options == {"steps": "10", "rate": "0.1"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pgd", Spec("pgd")),
        ("  pgd  ", Spec("pgd")),
        ("pgd: steps=5 , rate=8/255", Spec("pgd", None, {"steps": "5", "rate": "8/255"})),
        ("apgd-t:n-restarts=2", Spec("apgd-t", None, {"n_restarts": "2"})),
        ("parquet:/a/b.c", Spec("parquet", "/a/b.c")),
        ("parquet:/a/b,split=test", Spec("parquet", "/a/b", {"split": "test"})),
        ("cifar10[cat,dog]", Spec("cifar10[cat,dog]")),
        ("x:list=[1,2,3],k=(a=b)", Spec("x", None, {"list": "[1,2,3]", "k": "a=b"})),
    ],
)
def test_forms_of_a_spec(text: str, expected: Spec) -> None:
    """Each form the documentation shows parses to what it says."""
    assert parse_spec(text) == expected


MALFORMED = [
    "",
    " ",
    ":",
    ":a=1",
    "pgd:",
    "pgd: ",
    "pgd:steps=",
    "pgd:=5",
    "pgd:=",
    "pgd:a=1,b",
    "pgd:a=1,,b=2",
    "pgd:a=1,",
    "pgd:,a=1",
    "pgd:a=1,a=2",
    "pgd:a-b=1,a_b=2",
    "pgd:a=(1",
    "pgd:a=1)",
    "pgd:a=)1(",
    "pgd:a=[1,2",
    "pgd:(",
    "pgd:a,b",
    "pgd:a=(]",
]


@pytest.mark.parametrize("text", MALFORMED)
def test_a_malformed_spec_is_one_line_that_shows_it(text: str) -> None:
    """Every malformed spec raises UserError, in one line."""
    with pytest.raises(UserError) as caught:
        parse_spec(text)
    assert len(str(caught.value).splitlines()) == 1


@given(st.text(max_size=30))
@example("pgd:\n")
@example("pgd:a=1,b\nc")
@settings(max_examples=300, deadline=None, derandomize=True)
def test_any_text_parses_or_is_a_one_line_user_error(text: str) -> None:
    """No text whatever makes the parser raise anything but a UserError of one line."""
    message = "parsed"
    try:
        parse_spec(text)
    except UserError as error:
        message = str(error)
    assert len(message.splitlines()) == 1


def test_split_items_heeds_brackets() -> None:
    """Separators inside brackets do not split; the pieces are stripped."""
    assert split_items("a, b(c,d) ,[e,f],g") == ["a", "b(c,d)", "[e,f]", "g"]
    assert split_items("a+b(c+d)", "+") == ["a", "b(c+d)"]
    assert split_items("") == [""]


@given(st.integers(-10_000, 10_000), st.integers(1, 10_000))
@settings(deadline=None, derandomize=True)
def test_fractions(numerator: int, denominator: int) -> None:
    """`a/b` is the float a/b, decimals and signs too."""
    assert parse_number(f"{numerator}/{denominator}") == numerator / denominator
    assert parse_number(f" {numerator} / {denominator}.0 ") == numerator / denominator


@pytest.mark.parametrize("text", ["1/0", "a/b", "1/", "/2", "1/2/3", "/", "1 2/3"])
def test_bad_fractions(text: str) -> None:
    """Whatever has a slash and is not a fraction is a ValueError that says what is wanted."""
    with pytest.raises(ValueError, match=r"such as 0\.03 or 8/255"):
        parse_number(text)


def test_what_is_not_a_fraction_passes_through() -> None:
    """Numbers, None and text without a slash are left to the type's own parser."""
    assert parse_number(0.5) == 0.5
    assert parse_number("0.5") == "0.5"
    assert parse_number(None) is None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Thing:
    """A registered thing as the tests need it."""

    steps: Annotated[int, Field(ge=1)]
    rate: Annotated[Number | None, Field(gt=0)] = None
    form: Literal["square", "round"] = "square"
    fast: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Folder:
    """A thing with a bare argument."""

    argument = "path"
    path: str
    split: str = "test"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bare:
    """A thing without options."""


def test_build_converts_by_the_types_of_the_fields() -> None:
    """Text becomes int, float (fractions too), literal and bool."""
    made = build(Thing, parse_spec("thing:steps=5,rate=2/4,form=round,fast=true"))
    assert made == Thing(steps=5, rate=0.5, form="round", fast=True)
    assert type(made.steps) is int
    assert type(made.rate) is float


def test_build_takes_a_bare_argument() -> None:
    """The class names the field that a bare argument fills."""
    assert build(Folder, parse_spec("folder:a/b,split=train")) == Folder(path="a/b", split="train")


@pytest.mark.parametrize(
    ("cls", "text", "words"),
    [
        (Thing, "t", ["steps", "must be given"]),
        (Thing, "t:step=3", ["unknown option 'step'", "did you mean steps"]),
        (Thing, "t:steps=three", ["steps", "'three'"]),
        (Thing, "t:steps=0", ["steps", "'0'", "greater than or equal to 1"]),
        (Thing, "t:steps=2.5", ["steps", "'2.5'"]),
        (Thing, "t:steps=1,rate=1/0", ["rate", "'1/0'", "such as 0.03 or 8/255"]),
        (Thing, "t:steps=1,rate=-1", ["rate", "'-1'", "greater than 0"]),
        (Thing, "t:steps=1,rate=nan", ["rate", "'nan'"]),
        (Thing, "t:steps=1,form=squre", ["form", "'squre'", "'square'"]),
        (Thing, "t:steps=1,fast=perhaps", ["fast", "'perhaps'"]),
        (Thing, "t:steps", ["'steps' is not key=value", "steps"]),
        (Folder, "t:a,path=b", ["path"]),
        (Bare, "t:a=1", ["unknown option 'a'", "it has none"]),
    ],
)
def test_a_bad_option_is_named(cls: type, text: str, words: list[str]) -> None:
    """One line with the option, what was given, and what is allowed or near."""
    with pytest.raises(UserError) as caught:
        build(cls, parse_spec(text), "thing t")
    message = str(caught.value)
    assert message.startswith("thing t: ")
    assert len(message.splitlines()) == 1
    assert all(word in message for word in words), message


def test_the_message_names_an_option_not_a_type() -> None:
    """A bad value of an optional number is reported under the option's name, as written."""
    with pytest.raises(UserError, match=r"^t: rate='abc': "):
        build(Thing, parse_spec("t:steps=1,rate=abc"))


@given(
    st.dictionaries(
        KEYS,
        st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
        max_size=5,
    )
)
@settings(deadline=None, derandomize=True)
def test_canonical_json_does_not_depend_on_order(values: dict[str, object]) -> None:
    """Equal values give equal text and hash in any key order; the text loads back."""
    turned = dict(reversed(values.items()))
    assert canonical_json(values) == canonical_json(turned)
    assert short_hash(values) == short_hash(turned)
    assert json.loads(canonical_json(values)) == values


def test_hash_is_short_hexadecimal_and_distinguishes() -> None:
    """Twelve hexadecimal digits, different for different values; not-a-number is refused."""
    assert len({short_hash({"a": i}) for i in range(1000)}) == 1000
    assert all(char in "0123456789abcdef" for char in short_hash(1))
    assert len(short_hash(1)) == 12
    with pytest.raises(ValueError):
        canonical_json(math.nan)
