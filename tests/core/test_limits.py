"""Limits of time and queries: how they are written, and how they read."""

from __future__ import annotations

import pytest

from robbench.core.limits import Limits, parse_queries, parse_time, time_text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("2m", 120),
        ("1h", 3600),
        ("1.5h", 5400),
        ("0.5s", 0.5),
        (" 90S ", 90),
        ("none", None),
        (None, None),
    ],
)
def test_times(text: str | None, seconds: float | None) -> None:
    """Times with a unit, in either case; none for no limit."""
    assert parse_time(text) == seconds


@pytest.mark.parametrize(
    ("text", "queries"), [("5000", 5000), (" 3 ", 3), (7, 7), ("none", None), (None, None)]
)
def test_queries(text: object, queries: int | None) -> None:
    """Whole numbers; none for no limit."""
    assert parse_queries(text) == queries


ODD = ["", "s", "-5s", "0s", "0.0m", "1h30m", "1/2h", "inf", "infs", "9 9s", "2d", True, "5000q"]


@pytest.mark.parametrize("text", [*ODD, "90", 90])
def test_bad_times(text: object) -> None:
    """Anything else is refused, with examples; a number without a unit too."""
    with pytest.raises(ValueError, match=r"90s.*1h"):
        parse_time(text)


@pytest.mark.parametrize("text", [*ODD, "0", "2.5", 2.5, "1e3", "nan", "5,000", "5000queries"])
def test_bad_queries(text: object) -> None:
    """Anything else is refused, with an example."""
    with pytest.raises(ValueError, match="5000"):
        parse_queries(text)


def test_limits_as_text() -> None:
    """One limit, one text: what a run's identity rests on."""
    assert [time_text(float(parse_time(text) or 0)) for text in ("2m", "120s", "0.25s", "1h")] == [
        "120s",
        "120s",
        "0.25s",
        "3600s",
    ]
    assert [str(Limits(s, q)) for s in (None, 90.0) for q in (None, 5)] == [
        "none",
        "5 queries",
        "90s",
        "90s, 5 queries",
    ]
    assert [bool(Limits(s, q)) for s in (None, 90.0) for q in (None, 5)] == [
        False,
        True,
        True,
        True,
    ]
