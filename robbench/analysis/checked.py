"""What the checks of a run say of it, from rows of the checks table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

STATES = ("fail", "not checked", "pass")
"""What `robbench check` has found of a run, the worst first."""


def speaks_against(check: Mapping[str, Any]) -> bool:
    """Whether a check failed that is more than information."""
    return bool(check["verdict"] == "fail" and check["severity"] != "info")


def checked(checks: Iterable[Mapping[str, Any]]) -> bool:
    """Whether `robbench check` was run: the checks that every attack makes do not count."""
    return any(not check["automatic"] for check in checks)


def state(checks: Sequence[Mapping[str, Any]]) -> str:
    """One of STATES, of a run's checks: automatic ones count only where one failed."""
    if any(map(speaks_against, checks)):
        return "fail"
    return "pass" if checked(checks) else "not checked"


def worst(states: Sequence[str | None]) -> str | None:
    """Of several runs; None where nothing is known of any."""
    return next((word for word in STATES if word in states), None)
