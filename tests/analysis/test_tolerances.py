"""How much worse is too much: read exactly, decided exactly, said in one line."""

from __future__ import annotations

from typing import Any

import pytest

from robbench.analysis.tolerances import parse_tolerances
from robbench.core.errors import UserError


def _row(model: str, **values: Any) -> dict[str, Any]:
    return {
        "model": model,
        "run_id": f"id-{model}",
        "robust_accuracy": 0.5,
        "adv_margin_p50": 1.0,
        "n_forward": 100,
    } | values


@pytest.mark.parametrize(
    ("text", "old", "new", "fails"),
    [
        ("robust_accuracy:-1pp", 0.50, 0.48, True),
        ("robust_accuracy:-1pp", 0.50, 0.49, False),
        (
            "robust_accuracy:-1pp",
            0.29,
            0.28,
            False,
        ),  # 0.29 - 0.28 is a little more than 0.01 in floating point
        ("robust_accuracy:-1pp", 0.50, 0.90, False),
        ("robust_accuracy:-0pp", 0.50, 0.4999, True),
        ("robust_accuracy:-0pp", 0.50, 0.50, False),
        ("robust_accuracy:-.5pp", 0.50, 0.494, True),
        ("robust_accuracy:-0.02", 0.50, 0.47, True),
        ("robust_accuracy:-5%", 0.40, 0.385, False),
        ("robust_accuracy:-5%", 0.40, 0.375, True),
        ("robust-accuracy:-1pp", 0.50, 0.48, True),
        ("adversarial_ratio:+1pp", 0.50, 0.52, True),
        ("adversarial_ratio:+1pp", 0.50, 0.40, False),
        ("n_forward:+10%", 100, 111, True),
        ("n_forward:+10%", 100, 110, False),
        ("n_forward:+10%", 0, 1, True),
        ("n_forward:+10%", 0, 0, False),
        ("adv_margin_p50:-5%", 0.0, -0.1, True),
        ("adv_margin_p50:+5%", 0.0, -0.1, False),
        ("adv_margin_p50:-0.5", -1.0, -1.6, True),
        ("adv_margin_p50:-50%", -1.0, -1.4, False),
    ],
)
def test_what_fails(text: str, old: float, new: float, fails: bool) -> None:
    """Points, percent of the first and own units, each way; exactly at the limit passes."""
    (limit,) = parse_tolerances([text])
    failure = limit.failure(_row("new", **{limit.metric: new}), _row("old", **{limit.metric: old}))
    assert (failure is not None) is fails


def test_the_line_says_which_and_by_how_much() -> None:
    """Model, metric, from where to where, by how much, and what was allowed."""
    (limit,) = parse_tolerances(["robust_accuracy:-1pp"])
    failure = limit.failure(_row("new", robust_accuracy=0.4725), _row("old"))
    assert failure is not None
    assert (
        failure["text"]
        == "new against old: robust_accuracy fell by 2.75pp (50.0% to 47.2%), allowed 1pp"
    )
    assert failure["change"] == pytest.approx(-2.75)
    assert (failure["limit"], failure["unit"], failure["metric"]) == (-1.0, "pp", "robust_accuracy")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("robust_acuracy:-1pp", "did you mean robust_accuracy"),
        ("robust_accuracy", "write robust_accuracy:-1pp"),
        ("robust_accuracy:1pp", "write robust_accuracy:-1pp"),
        ("robust_accuracy:-onepp", "write robust_accuracy:-1pp"),
        ("robust_accuracy:-1pt", "write robust_accuracy:-1pp"),
        ("adv_margin_p50:-1pp", "points are for rates"),
        ("", "unknown metric"),
    ],
)
def test_bad_tolerances(text: str, message: str) -> None:
    """What is wrong, and how to write it."""
    with pytest.raises(UserError, match=message):
        parse_tolerances([text])


@pytest.mark.parametrize("missing", [None, float("nan"), float("inf")])
def test_a_number_that_is_missing_never_passes(missing: float | None) -> None:
    """No margin in one of the runs is bad input, not a pass."""
    (limit,) = parse_tolerances(["adv_margin_p50:-1"])
    with pytest.raises(UserError, match="no number"):
        limit.failure(_row("new", adv_margin_p50=missing), _row("old"))
