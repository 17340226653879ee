"""Single cells."""

from __future__ import annotations

import math

import pytest

from robbench.reports.latex.cells import column_of, rate, size, threat

ROW = {"robust_accuracy": 0.382, "robust_accuracy_low": 0.35, "robust_accuracy_high": 0.42}
RUN = ROW | {"robust_accuracy_sd": None, "n_seeds": None}


@pytest.mark.parametrize(
    ("row", "best", "cell"),
    [
        (RUN, False, r"$38.2$ {\scriptsize $[35.0, 42.0]$}"),
        (RUN, True, r"$\mathbf{38.2}$ {\scriptsize $[35.0, 42.0]$}"),
        (RUN | {"robust_accuracy_sd": 0.013, "n_seeds": 3}, False, r"$38.2 \pm 1.3$"),
        (RUN | {"robust_accuracy_sd": 0.013, "n_seeds": 3}, True, r"$\mathbf{38.2 \pm 1.3}$"),
        (RUN | {"n_seeds": 1, "robust_accuracy_low": math.nan}, False, "$38.2$"),
        (RUN | {"robust_accuracy": None}, False, "--"),
        (None, False, "--"),
    ],
)
def test_a_rate(row, best, cell):
    """Of a run, of seeds, of one seed, without a budget, of no run."""
    assert rate(row, "robust_accuracy", best) == cell


def test_margins_that_are_not_known():
    """A dash, where mathematics would show a minus."""
    cell = column_of("margins").cell
    assert cell({"clean_margin_p50": 4.0, "adv_margin_p50": -0.5}) == r"$4.00 \rightarrow -0.50$"
    assert cell({"clean_margin_p50": 4.0, "adv_margin_p50": None}) == r"$4.00$ $\rightarrow$ --"
    nothing = {"clean_margin_p50": math.nan, "adv_margin_p50": math.nan}
    assert cell(nothing) == r"-- $\rightarrow$ --"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("linf:8/255", r"$\ell_\infty$, $\varepsilon = 8/255$"),
        ("l2:0.5", r"$\ell_2$, $\varepsilon = 0.5$"),
        ("l1:inf", r"$\ell_1$, $\varepsilon = \infty$"),
        ("l0:20", r"$\ell_0$, $\varepsilon = 20$"),
    ],
)
def test_a_threat_model(text, written):
    """Norm and budget as papers write them."""
    assert threat(text) == written


@pytest.mark.parametrize(
    ("name", "value", "cell"),
    [("wall_s", 1.5, "$1.5$"), ("won", 3, "$3$"), ("note", None, "--"), ("loss", "a_b", r"a\_b")],
)
def test_any_other_column(name, value, cell):
    """Numbers as mathematics, text escaped, nothing a dash."""
    assert column_of(name).cell({name: value}) == cell


def test_a_corruption_has_a_severity_and_no_epsilon():
    """Its name is a text."""
    assert threat("corruption:motion_blur@3") == r"motion blur, severity $3$"
    assert size("corruption:fog@1") == "severity $1$"


def test_a_target_is_an_arrow():
    """Behind the budget, with and without one, in a cell and at the head of a column."""
    assert threat("linf:8/255 -> a_b") == r"$\ell_\infty$, $\varepsilon = 8/255$ $\to$ a\_b"
    assert threat("l2:inf -> random") == r"$\ell_2$, $\varepsilon = \infty$ $\to$ random"
    assert (size("linf:0.1 -> cat"), size("linf:8/255")) == (r"$0.1$ $\to$ cat", "$8/255$")
    assert column_of("robust_accuracy", targeted=True).head == r"Target not reached (\%)"
    assert column_of("model", targeted=True) is column_of("model")
