"""Errors: whose turn it is, and what was probably meant."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robbench.core.errors import (
    RobbenchError,
    RunError,
    Stopped,
    UserError,
    nearest,
    text_of,
    unknown,
)

NAMES = st.lists(st.text("abcdef-", min_size=1, max_size=8), max_size=6, unique=True)


@pytest.mark.parametrize(("kind", "code"), [(UserError, 2), (RunError, 3), (RobbenchError, 3)])
def test_the_exit_code_says_whose_turn_it_is(kind: type[RobbenchError], code: int) -> None:
    assert kind("x").exit_code == code
    assert issubclass(kind, RobbenchError)


@pytest.mark.parametrize("code", [130, 143])
def test_no_handler_of_exceptions_swallows_a_stop(code: int) -> None:
    with pytest.raises(Stopped) as caught, contextlib.suppress(Exception):
        raise Stopped(code)
    assert caught.value.exit_code == code


@given(NAMES, st.text("abcdef-", min_size=1, max_size=8))
def test_a_hint_names_known_names_only(known: list[str], name: str) -> None:
    """The name itself first where it is known; all where none is close; nothing of nothing."""
    hint = nearest(name, known)
    if not known:
        assert hint == ""
    elif hint.startswith("; did you mean "):
        named = hint.removeprefix("; did you mean ").removesuffix("?").split(", ")
        assert set(named) <= set(known)
        assert len(named) <= 3
        assert (named[0] == name) == (name in known)
    else:
        assert hint == f"; known: {', '.join(sorted(known))}"


def test_a_slip_is_recognised() -> None:
    """One letter, two swapped, capitals."""
    for slip in ("apgdd", "agpd", "APGD"):
        assert "apgd" in nearest(slip, ["apgd", "square", "fab"])
    assert str(unknown("attack", "fba", ["fab"])) == "unknown attack 'fba'; did you mean fab?"


def test_initials_are_recognised() -> None:
    """`ce`, as papers write it, is nearer to i-sce by letters alone."""
    known = ["cross-entropy", "i-sce", "trades", "ewat-trades"]
    assert nearest("ce", known) == "; did you mean cross-entropy?"
    assert nearest("CE", known) == "; did you mean cross-entropy?"


def test_the_text_of_an_exception_that_has_none() -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise KeyError

    assert text_of(MuteError()) == ""
    assert text_of(ValueError("a")) == "a"


def test_no_error_tells_a_password() -> None:
    """Whoever made it, and whatever became of it since."""
    error = unknown("run", "sftp://me:secret@host/x", [])
    assert str(error) == "unknown run 'sftp://***@host/x'"
    error.args = ("see s3://me:secret@host",)
    assert str(error) == "see s3://***@host"
