"""What a figure's caption says of its runs."""

from __future__ import annotations

import pytest

from robbench.analysis.plots.scope import about, one_scope
from robbench.core.errors import UserError


def test_numbers_of_samples_and_attacks(add_run, handmade_rows):
    """A range where they differ; an attack only where it is one, and wanted."""
    first = add_run("a" * 12)[1]
    other = add_run("b" * 12, handmade_rows(n=20), attack="fgsm")[1]
    assert about("W", [first]) == "W on digits test (40 samples, pgd)"
    assert about("W", [first, other]) == "W on digits test (20 to 40 samples)"
    assert about("W", [first], attack=False) == "W on digits test (40 samples)"


def test_threat_models_share_a_figure_unless_it_is_of_one(add_run):
    """Budgets of one norm are one line."""
    runs = [add_run("a" * 12)[1], add_run("b" * 12, eps=0.2)[1]]
    assert [len(one.runs) for one in one_scope(runs)] == [2]
    with pytest.raises(UserError, match="one figure has one threat"):
        one_scope(runs, one_threat=True)
