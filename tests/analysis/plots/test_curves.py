"""The numbers of security curves against the runs' own rows."""

from __future__ import annotations

import pytest

from robbench.analysis.plots.curves import security_curves
from robbench.core.errors import UserError
from robbench.statistics.proportions import wilson


def test_a_line_has_every_budget_with_its_interval(add_run, handmade_rows):
    """Counted from the samples: robust accuracy and Wilson's interval at each eps, clean at 0."""
    runs = [add_run(name * 12, eps=eps)[1] for name, eps in (("a", 0.05), ("b", 0.2))]
    rows = list(security_curves(runs).rows())
    stand = [
        sum(row["clean_correct"] for row in handmade_rows()),
        *(sum(row["robust"] for row in handmade_rows(eps=eps)) for eps in (0.05, 0.2)),
    ]
    assert [row["eps"] for row in rows] == [0, 0.05, 0.2]
    assert [row["robust_accuracy"] for row in rows] == [n / 40 for n in stand]
    assert [(row["low"], row["high"]) for row in rows] == [
        pytest.approx(wilson(n, 40)) for n in stand
    ]
    assert {(row["line"], row["n_samples"]) for row in rows} == {("ce", 40)}


def test_the_caption_says_what_is_drawn(add_run):
    """Norm, data, samples, the attack where it is one, and what the bands are."""
    runs = [add_run("a" * 12)[1], add_run("b" * 12, model="at")[1]]
    assert security_curves(runs).caption == (
        "Robust accuracy against the linf budget on digits test (40 samples, pgd); "
        "bands: 95 % Wilson intervals."
    )
    assert "(40 samples, pgd) of ce; bands" in security_curves(runs[:1]).caption


def test_the_caption_of_a_corruption_speaks_of_its_severity(add_run):
    """Which is no budget."""
    facts = {"norm": "corruption:zoom_blur", "threat": "corruption:zoom_blur@3", "eps": 3.0}
    caption = security_curves([add_run("a" * 12, **facts)[1]]).caption
    assert caption.startswith("Robust accuracy against the severity of zoom blur on digits test")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"norm": "l2", "threat": "l2:0.1"}, "one figure has one norm.*--where norm=linf"),
        ({"data": "mnist"}, "one figure has one data, the runs have digits, mnist"),
        ({"split": "train"}, "one figure has one split"),
    ],
)
def test_what_does_not_belong_in_one_figure_is_refused(add_run, changes, said):
    """With the condition that chooses."""
    with pytest.raises(UserError, match=said):
        security_curves([add_run("a" * 12)[1], add_run("b" * 12, **changes)[1]])


def test_runs_on_other_samples_are_lines_of_their_own(add_run, handmade_rows):
    """Each with its own clean accuracy and number of samples."""
    fewer = {"subset": "first=20", "data_hash": "other"}
    runs = [
        add_run("a" * 12, eps=0.05)[1],
        add_run("b" * 12, handmade_rows(20, eps=0.2), eps=0.2, **fewer)[1],
    ]
    rows = list(security_curves(runs).rows())
    assert [(row["line"], row["eps"], row["n_samples"]) for row in rows] == [
        ("ce, all samples", 0, 40),
        ("ce, all samples", 0.05, 40),
        ("ce, first=20", 0, 20),
        ("ce, first=20", 0.2, 20),
    ]
