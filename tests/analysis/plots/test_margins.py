"""Distributions of logit margins against counting."""

from __future__ import annotations

import math

import numpy as np
import pytest

from robbench.analysis.plots.margins import logit_margins
from robbench.core.errors import UserError


def test_a_share_is_the_number_of_samples_with_no_larger_margin(add_run, handmade_rows):
    """At each margin of a sample, clean and worst, counted one by one."""
    rows = handmade_rows()
    plotted = logit_margins([add_run("a" * 12, rows)[1]])
    for line, column in zip(plotted.lines, ("clean_margin", "adv_margin"), strict=True):
        margins = np.array([row[column] for row in rows], np.float32).astype(float)
        assert line.x.tolist() == sorted(set(margins))
        assert line.y.tolist() == [(margins <= x).sum() / 40 for x in line.x]
    assert [line.panel for line in plotted.lines] == ["clean", "worst"]


def test_at_zero_the_shares_are_the_errors(add_run, handmade_rows):
    """1 - clean accuracy above, the adversarial ratio below."""
    run = add_run("a" * 12)[1]
    clean, worst = logit_margins([run]).lines
    assert clean.y[clean.x <= 0][-1] == pytest.approx(1 - run.info["clean_accuracy"])
    assert worst.y[worst.x <= 0][-1] == pytest.approx(run.info["adversarial_ratio"])


def test_unknown_margins_count_in_the_whole(add_run, handmade_rows):
    """An attack that does not show its attempts: the line ends at the share of what is known."""
    rows = handmade_rows()
    for row in rows:
        row["adv_margin"] = None if row["robust"] else row["adv_margin"]
    _, worst = logit_margins([add_run("a" * 12, rows)[1]]).lines
    assert worst.y[-1] == sum(row["adversarial"] for row in rows) / 40 < 1


def test_margins_that_are_no_numbers_are_errors_where_their_samples_are(add_run, handmade_rows):
    """Logits that are not finite: below all others where a sample is wrong, else above."""
    rows = handmade_rows()
    for row in rows[::2]:
        row |= {"clean_margin": math.nan, "adv_margin": math.nan}
    for line, right in zip(
        logit_margins([add_run("a" * 12, rows)[1]]).lines, ("clean_correct", "robust"), strict=True
    ):
        below = sum(n % 2 == 0 and not row[right] for n, row in enumerate(rows))
        assert below > 0
        assert line.y[-1] == (below + 20) / 40


def test_several_threat_models_are_refused(add_run):
    """With the condition that chooses one."""
    with pytest.raises(UserError, match=r"one figure has one threat.*--where threat=linf:0.1"):
        logit_margins([add_run("a" * 12)[1], add_run("b" * 12, eps=0.2)[1]])
