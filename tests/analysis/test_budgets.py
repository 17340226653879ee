"""Which smaller budgets a run's samples were attacked at first."""

from __future__ import annotations

import json
from typing import Any

import pytest

from robbench.analysis.budgets import smaller_budgets


@pytest.mark.parametrize(
    ("threat", "found"),
    [
        (["linf:8/255"], []),
        (["linf:2/255, 8/255,16/255"], ["2/255"]),
        (["linf:8/255", "Linf:0.01,4/255"], ["0.01", "4/255"]),
        (["l2:0.001", "linf:8/255"], []),
        ([], []),
        (None, []),
        ("linf:0.01", []),
        (["linf:small", "linf", 3], []),
    ],
)
def test_smaller_budgets_of_the_same_norm_count(threat: Any, found: list[str]) -> None:
    """However they were given: in one option or several; what is no budget is passed over."""
    info = {"norm": "linf", "eps": 8 / 255, "config": json.dumps({"threat": threat})}
    assert smaller_budgets(info) == found
    assert smaller_budgets({**info, "config": "{}"}) == []
