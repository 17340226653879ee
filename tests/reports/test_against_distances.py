"""What a number is of, in a few words."""

from __future__ import annotations

from typing import Any

import pytest

from robbench.reports.against_distances import what_it_is_of


@pytest.mark.parametrize(
    ("detail", "text"),
    [
        ({"reason": "no budget", "brittle": 3, "robust": 4}, "no budget"),
        ({"compared": 9, "other_runs": 1}, "9 samples, 1 other run"),
        ({"compared": 9, "other_runs": 2}, "9 samples, 2 other runs"),
        ({"brittle": 3, "robust": 4}, "3 brittle, 4 robust"),
        ({"used": 5, "left_out": 6}, "5 samples, 6 left out"),
        ({}, ""),
    ],
)
def test_what_it_is_of(detail: dict[str, Any], text: str) -> None:
    """The reason first; of a detail that lacks its facts, nothing."""
    assert what_it_is_of(detail) == text
