"""Margin consistency of a linear model, of one whose margins say nothing, and of rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from torch import nn

from robbench.checks.broken_defences import DEFENCES, Defence
from robbench.checks.evidence import Evidence, Skip
from robbench.checks.margins import margin_consistency
from robbench.core.status import UNFINISHED

N = 60
RISING = np.linspace(0.5, 3, N).tolist()


def rows(n: int, *, margins: list[float], **columns: list[Any]) -> dict[str, list[Any]]:
    """A run in which the first n samples fell."""
    return {
        "adversarial": [True] * n + [False] * (N - n),
        "clean_margin": margins,
    } | columns


def test_of_a_linear_model_the_order_is_perfect(
    evidence: Callable[..., Evidence], linear: type[nn.Module]
) -> None:
    """Logit margin = length of the weights times distance."""
    reading = margin_consistency(evidence(linear()))
    assert (reading.failed, reading.figure, reading.evidence) == (False, 0, ())
    assert "100% of the pairs" in reading.text


def test_margins_that_are_equal_everywhere_are_noticed(
    evidence: Callable[..., Evidence],
    linear: type[nn.Module],
    run_of: Callable[..., dict[str, Any]],
) -> None:
    """The self-test's specimen: every pair is a tie, as by chance."""
    model = Defence(linear(), *DEFENCES["logits over their margin"])
    margins = evidence(model).answers.margins
    assert margins.tolist() == pytest.approx([1.0] * N)
    columns = rows(25, margins=margins.round(decimals=3).tolist())
    reading = margin_consistency(evidence(model, **run_of(**columns)))
    assert (reading.failed, reading.figure) == (True, 0.5)
    assert "chance" in reading.text


@pytest.mark.parametrize("seed", range(3))
def test_the_figure_is_that_of_scikit_learn(
    seed: int,
    evidence: Callable[..., Evidence],
    linear: type[nn.Module],
    run_of: Callable[..., dict[str, Any]],
) -> None:
    """1 - AUROC; fails where even the interval's end is above the threshold."""
    draw = np.random.default_rng(seed)
    margins = (draw.normal(size=N) + 0.8 * (np.arange(N) < 25)).tolist()  # worse than chance
    e = evidence(linear(), **run_of(**rows(25, margins=margins)))
    reading = margin_consistency(e)
    fell = np.arange(N) < 25
    assert reading.figure == pytest.approx(1 - roc_auc_score(fell, -np.array(margins)))
    assert reading.failed is True
    middle = np.median(margins)  # torch takes the lower one of the two in the middle
    above = {int(i) for i, m in zip(e.split.ids[:25], margins, strict=False) if m > middle}
    assert above
    assert above <= set(reading.evidence) <= set(e.split.ids[:25].tolist())


def test_a_few_misordered_pairs_prove_nothing(
    evidence: Callable[..., Evidence],
    linear: type[nn.Module],
    run_of: Callable[..., dict[str, Any]],
) -> None:
    """Above the threshold, but not surely: unclear. Too few on one side: skipped."""
    margins = RISING.copy()
    margins[:6] = [0.6, 0.7, 0.8, 1.9, 2.7, 2.9]
    reading = margin_consistency(evidence(linear(), **run_of(**rows(6, margins=margins))))
    assert reading.failed is None
    assert reading.figure > reading.threshold
    for n in (4, 56):
        with pytest.raises(Skip, match="too few"):
            margin_consistency(evidence(linear(), **run_of(**rows(n, margins=RISING))))


def test_who_was_not_attacked_to_the_end_did_not_stand(
    evidence: Callable[..., Evidence],
    linear: type[nn.Module],
    run_of: Callable[..., dict[str, Any]],
) -> None:
    """Nor does a margin count that is no number, or a sample that is wrong anyway."""
    status = [0] * 30 + [UNFINISHED] * 20 + [0] * 10
    margins = [*RISING[:59], math.nan]
    right = [False] * 3 + [True] * 57
    columns = rows(30, margins=margins, status=status, clean_correct=right)
    reading = margin_consistency(evidence(linear(), **run_of(**columns)))
    assert "27 broken and 9 unbroken" in reading.text


def test_without_a_budget_the_nearer_half_counts_as_broken(
    evidence: Callable[..., Evidence],
    linear: type[nn.Module],
    run_of: Callable[..., dict[str, Any]],
) -> None:
    """Nothing found is far away."""
    sizes: list[float | None] = np.linspace(0.1, 1, N).tolist()
    columns = rows(N, margins=RISING, dist_linf=sizes)
    reading = margin_consistency(evidence(linear(), threat="linf:inf", **run_of(**columns)))
    assert (reading.failed, reading.figure) == (False, 0)
    assert "30 broken and 30 unbroken" in reading.text
    columns["adversarial"][:20] = [False] * 20  # with the smallest margins
    reading = margin_consistency(evidence(linear(), threat="linf:inf", **run_of(**columns)))
    assert reading.failed is True


def test_needs_logits_and_no_target(
    evidence: Callable[..., Evidence],
    linear: type[nn.Module],
    run_of: Callable[..., dict[str, Any]],
) -> None:
    """Classes alone have no margins; those of a run to a target are others."""
    run = run_of(**rows(25, margins=RISING))
    with pytest.raises(Skip, match="target"):
        margin_consistency(evidence(linear(), threat="linf:0.05 -> 1", **run))
    model = linear()
    model.access = "decision-based"
    with pytest.raises(Skip, match="scores"):
        margin_consistency(evidence(model, **run))
