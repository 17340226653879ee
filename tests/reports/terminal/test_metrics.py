"""Measures as a person reads them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from robbench.reports.terminal.metrics import SHOWN, measures_table
from robbench.store.measured import Measure

INFO = {
    "model": "a-name-that-is-longer-than-its-column",
    "data": "digits",
    "split": "test",
    "threat": "linf:0.1",
    "attack": "pgd",
    "run_id": "aaaa11111111",
}
MARGIN = {
    "norm": "linf",
    "reach": 0.25,
    "median_low": 0.1,
    "censored": 3,
    "samples": 40,
    "runs": ["a"],
}
MEASURES = [
    Measure("accuracy", "clean", "test", 0.9),
    Measure("accuracy", "worst", "test", 0.25),
    Measure("logit_norm", "clean", "train", 12.345),
    Measure("accuracy", "clean", "test", 0.5, label=3),
    Measure("input_margin_linf", "clean", "test", 0.2, MARGIN),
    Measure("security_curve_linf", "clean", "test", 0.15, {"area_low": 0.15, "end": 0.3}),
]
BESIDE = [
    Measure(
        "margin_consistency_linf",
        "worst",
        "test",
        0.712,
        {"norm": "linf", "low": 0.654, "high": 0.763, "used": 57, "left_out": 2},
    ),
    Measure("brittle_fpr95", "worst", "test", 0.25, {"norm": "linf", "brittle": 21, "robust": 33}),
    Measure(
        "optimality", "worst", "test", None, {"norm": "linf", "reason": "no other run attacked it"}
    ),
]


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_every_number_is_there_and_fits(printed: Callable[..., list[str]], width: int) -> None:
    """Shares in percent, of all classes; a range where the margin is known from both sides."""
    lines = printed(measures_table(INFO, MEASURES, "l1"), width)
    assert max(map(len, lines)) <= width
    words = " ".join(lines).split()
    for number in ("90.0%", "25.0%", "12.3", "0.1-0.2", "0.15", "0.3", "3/40"):
        assert number in words, number
    assert "50.0%" not in words


def test_a_line_for_each_measure(printed: Callable[..., list[str]]) -> None:
    """Those of a part begin with spaces; the gradient norms are those of the dual norm."""
    lines = printed(measures_table(INFO, MEASURES[:4], "l1"), 120)
    shown = [line.rstrip() for line in lines[3:] if line.strip()]
    assert len(shown) == len(SHOWN)
    assert any(line.startswith("  share near zero") for line in shown)
    assert any("(l1)" in line for line in shown)


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_what_stands_beside_input_margins(printed: Callable[..., list[str]], width: int) -> None:
    """Each with its interval and what it is of, or why it has no value."""
    lines = printed(measures_table(INFO, [*MEASURES, *BESIDE], "l1"), width)
    assert max(map(len, lines)) <= width
    words = " ".join(" ".join(lines).split())
    for text in ("0.712", "0.65 to 0.76", "57 samples, 2 left out", "25.0%", "21 brittle, 33"):
        assert text in words, text
    assert "no other run attacked it" in words
    assert "AUROC" not in words


def test_names_are_no_markup(printed: Callable[..., list[str]]) -> None:
    """Brackets of a data set stay."""
    lines = printed(measures_table(INFO | {"data": "cifar10[3,5]"}, [], "l1"), 120)
    assert "cifar10[3,5]" in lines[0]
