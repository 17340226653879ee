"""A summary against a plain loop over the rows."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from robbench.analysis.summary import summarise
from robbench.core.errors import UserError
from robbench.store.from_rows import samples_table
from robbench.store.schema import RUNS

AUDIT = (
    *("n_survivors", "n_audited", "n_audit_broken"),
    *("audit_missed_high", "robust_accuracy_audited"),
)
REJECTIONS = ("clean_rejection_rate", "adv_rejection_rate")


@pytest.mark.parametrize("as_table", [False, True])
def test_against_a_plain_loop(as_table: bool, make_samples: Callable[..., Any]) -> None:
    """Counts, rates, margins and queries equal counting by hand, from rows and from a table."""
    rows = make_samples(301, seed=3)
    rows[5]["status"], rows[6]["status"], rows[7]["status"] = 1, 2, 2
    got = summarise(samples_table("abc", rows) if as_table else rows)
    n, correct = len(rows), [row for row in rows if row["clean_correct"]]
    broken = sum(row["adversarial"] for row in rows)
    newly = sum(row["adversarial"] for row in correct)
    assert (got["n_samples"], got["n_clean_correct"], got["n_adversarial"]) == (
        n,
        len(correct),
        broken,
    )
    assert (got["n_robust"], got["n_error"], got["n_unconfirmed"]) == (n - broken, 1, 2)
    assert got["clean_accuracy"] == len(correct) / n
    assert got["adversarial_ratio"] == broken / n == pytest.approx(1 - got["robust_accuracy"])
    assert got["attack_success_rate"] == newly / len(correct)
    assert broken == newly + n - len(correct), "a clean mistake counts as found"
    worst = [row["adv_margin"] for row in rows]
    assert got["adv_margin_mean"] == pytest.approx(statistics.fmean(worst), rel=1e-6)
    assert got["adv_margin_p50"] == pytest.approx(statistics.median(worst), rel=1e-6)
    assert got["adv_margin_p05"] == pytest.approx(sorted(worst)[15], rel=1e-6)
    assert got["clean_margin_p50"] == pytest.approx(
        statistics.median(row["clean_margin"] for row in rows), rel=1e-6
    )
    assert (got["clean_pmargin_mean"], got["adv_pmargin_mean"]) == (0.75, -0.25)
    assert got["n_forward"] == sum(row["n_forward"] for row in rows)
    assert got["n_backward"] == sum(row["n_backward"] for row in rows)
    for name in ("clean_accuracy", "robust_accuracy"):
        assert got[f"{name}_low"] < got[name] < got[f"{name}_high"]


def test_rows_and_table_agree_to_the_last_bit(make_samples: Callable[..., Any]) -> None:
    """The stored summary, made from rows, is what anyone recomputes from the file."""
    rows = make_samples(100)
    assert summarise(rows) == summarise(samples_table("abc", rows))


def test_names_and_types_are_those_of_the_runs_table(make_samples: Callable[..., Any]) -> None:
    """Every value has a column; counts are int and metrics float."""
    for name, value in summarise(make_samples(5)).items():
        kind = {"int64": int, "double": float, "string": str}[str(RUNS.field(name).type)]
        assert type(value) is kind or (value is None and name in (*REJECTIONS, *AUDIT)), name


@pytest.mark.parametrize("as_table", [False, True])
def test_rejection_rates_are_shares_of_all_samples(
    as_table: bool, make_samples: Callable[..., Any]
) -> None:
    """None where the model never rejects, or the rows are of a time that did not say so."""
    rows = make_samples(4)
    for name in REJECTIONS:
        assert summarise(rows)[name] is None
    for i, row in enumerate(rows):
        row |= {"clean_rejected": i == 0, "adv_rejected": i > 0}
    got = summarise(samples_table("abc", rows) if as_table else rows)
    assert [got[name] for name in REJECTIONS] == [0.25, 0.75]


def test_non_finite_margins_are_left_out(make_samples: Callable[..., Any]) -> None:
    """A margin that is not a number spoils no mean; without a finite one the mean is NaN."""
    rows = make_samples(4)
    for row, margin in zip(rows, (1.0, 3.0, math.nan, -math.inf), strict=True):
        row["adv_margin"], row["clean_margin"] = margin, math.nan
    got = summarise(rows)
    assert (got["adv_margin_mean"], got["adv_margin_p50"]) == (2.0, 2.0)
    assert math.isnan(got["clean_margin_mean"])
    assert math.isnan(got["clean_margin_p50"])


def test_no_clean_correct_sample_has_no_success_rate(make_samples: Callable[..., Any]) -> None:
    """Nothing could be broken, so there is no share of it."""
    rows = [
        {**row, "clean_correct": False, "adversarial": True, "robust": False}
        for row in make_samples(5)
    ]
    got = summarise(rows)
    assert got["attack_success_rate"] is None
    assert (got["robust_accuracy"], got["adversarial_ratio"]) == (0.0, 1.0)


def test_totals_do_not_overflow(make_samples: Callable[..., Any]) -> None:
    """Per-sample counts are 32 bits wide, their sum is not."""
    rows = [{**row, "n_forward": 2**31 - 1} for row in make_samples(10)]
    assert summarise(samples_table("abc", rows))["n_forward"] == 10 * (2**31 - 1)
    assert summarise([{**row, "n_forward": np.int32(2**31 - 1)} for row in rows])[
        "n_forward"
    ] == 10 * (2**31 - 1)


@pytest.mark.parametrize("as_table", [False, True])
def test_no_samples_is_an_error(as_table: bool) -> None:
    """The accuracy of nothing is not zero."""
    with pytest.raises(UserError, match="no samples"):
        summarise(samples_table("abc", []) if as_table else [])


@pytest.mark.parametrize("as_table", [False, True])
@pytest.mark.parametrize(
    ("fallen", "median", "lowest"),
    [(3, None, -2.55), (5, None, -4.55), (6, -1.5, -5.55), (10, -5.5, -9.55)],
)
def test_unknown_worst_margins_are_above_those_of_the_fallen(
    fallen: int,
    median: float | None,
    lowest: float,
    as_table: bool,
    make_samples: Callable[..., Any],
) -> None:
    """Ten samples, some broken at -1, -2, ...: quantiles among those are known, others are not."""
    rows = make_samples(10)
    for i, row in enumerate(rows):
        row["adv_margin"], row["adv_pmargin"] = (-1.0 - i, -0.1) if i < fallen else (None, None)
    got = summarise(samples_table("abc", rows) if as_table else rows)
    assert got["adv_margin_p50"] == median
    assert got["adv_margin_p05"] == pytest.approx(lowest)
    assert (got["adv_margin_mean"] is None) == (got["adv_pmargin_mean"] is None) == (fallen < 10)


@pytest.mark.parametrize("as_table", [False, True])
def test_without_a_budget_there_is_no_robust_accuracy(
    as_table: bool, make_samples: Callable[..., Any]
) -> None:
    """None in place of the four rates; the counts stay."""
    rows = make_samples(10)
    got, usual = (
        summarise(samples_table("abc", rows) if as_table else rows, budget=given)
        for given in (False, True)
    )
    assert {name for name in got if got[name] is None} == {
        *REJECTIONS,
        *AUDIT,
        "robust_accuracy",
        "robust_accuracy_low",
        "robust_accuracy_high",
        "robust_accuracy_floor",
    }
    assert {name: value for name, value in usual.items() if got[name] is not None} == {
        name: value for name, value in got.items() if value is not None
    }
