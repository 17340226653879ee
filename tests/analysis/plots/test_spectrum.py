"""Singular values from the measures table."""

from __future__ import annotations

import json

import pytest

from robbench.analysis.plots.spectrum import spectra
from robbench.core.errors import UserError


def measures(values, **changes):
    detail = json.dumps({"singular_values": values})
    row = {"name": "numerical_rank", "points": "clean", "split": "test", "class": None}
    return [row | {"value": 2.0, "detail": detail} | changes]


def test_values_are_those_of_the_table_without_rounding(add_run):
    """A line per model; values below a millionth of the largest are no values."""
    runs = [add_run("a" * 12)[1], add_run("b" * 12, model="at", model_hash="other")[1]]
    found = {"a" * 12: measures([1, 0.5, 1e-9]), "b" * 12: measures([1, 0.25, 0.125])}
    first, second = spectra(runs, found).lines
    assert (first.name, first.x.tolist(), first.y.tolist()) == ("ce", [1, 2], [1, 0.5])
    assert (second.name, second.y.tolist()) == ("at", [1, 0.25, 0.125])


@pytest.mark.parametrize(
    "rows", [[], measures([]), measures([1], points="worst"), measures([1], **{"class": 3})]
)
def test_runs_without_any_are_told_how_to_get_them(add_run, rows):
    """Not measured, features unknown, or measured elsewhere."""
    with pytest.raises(UserError, match=f"run robbench measure {'a' * 12}"):
        spectra([add_run("a" * 12)[1]], {"a" * 12: rows})
