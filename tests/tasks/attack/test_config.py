"""Names and tags of runs: any printable text that is no pattern, path or address."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robbench.core.limits import Limits
from robbench.tasks.attack.config import AttackConfig, parse_name, parse_tags

TEXTS = st.text(max_size=8) | st.text("ab *?[]@/\\\n\t=", max_size=8)


@given(TEXTS)
def test_a_name_is_taken_as_it_is_or_refused(name: str) -> None:
    """Not what a shell, a path or `name@last` would read otherwise; never changed."""
    bad = not name.strip() or not name.isprintable() or any(c in "*?[]@/\\" for c in name)
    if bad:
        with pytest.raises(ValueError, match="a name"):
            parse_name(name)
    else:
        assert parse_name(name) == name


@pytest.mark.parametrize(("length", "fits"), [(200, True), (201, False)])
def test_names_and_tags_have_a_longest(length: int, fits: bool) -> None:
    for parse, value in ((parse_name, "x" * length), (parse_tags, ("x" * length,))):
        if fits:
            assert parse(value) == value  # type: ignore[arg-type]
        else:
            with pytest.raises(ValueError, match="200"):
                parse(value)  # type: ignore[arg-type]
    assert parse_name(None) is None


@given(st.lists(st.text("ab=", min_size=1, max_size=4), max_size=6))
def test_tags_are_kept_once_in_their_order(tags: list[str]) -> None:
    """A key has one value; a text without one may stand beside it."""
    values: dict[str, set[str]] = {}
    for tag in tags:
        if "=" in tag:
            values.setdefault(tag.split("=")[0], set()).add(tag)
    bad = any(tag.startswith("=") for tag in tags) or any(len(v) > 1 for v in values.values())
    if bad:
        with pytest.raises(ValueError, match=r"a tag is|two values"):
            parse_tags(tuple(tags))
        return
    found = parse_tags(tuple(tags))
    assert sorted(found) == sorted(set(tags))
    assert list(found) == sorted(found, key=tags.index)


def test_limits_are_those_of_the_settings() -> None:
    assert AttackConfig().limits == Limits(None, None)
    assert AttackConfig(max_time=2.5, max_queries=7).limits == Limits(2.5, 7)
