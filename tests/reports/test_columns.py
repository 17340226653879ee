"""Columns of a comparison: named, written, chosen and sorted; against plain sorting of the rows."""

from __future__ import annotations

import math

import pytest

from robbench.core.errors import UserError
from robbench.reports.columns import (
    DEFAULT,
    column,
    extended,
    parse_columns,
    select,
    usual,
    varying,
)

AUDITED = {"robust_accuracy_audited": 0.61379}


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("wall_s", None, "-"),
        ("deterministic", True, "yes"),
        ("deterministic", False, "no"),
        ("attacked_accuracy", 0.5, "50.0%"),
        ("mcnemar_p", 0.0001, "p<0.001"),
        ("eps", math.inf, "inf"),
        ("n_samples", 7, "7"),
        ("tags", ["a", "b"], "a, b"),
        ("tags", [], "-"),
        ("flags", [{"name": "random", "text": "so it is"}], "random"),
    ],
)
def test_any_value_of_a_row_is_a_column(name: str, value: object, text: str) -> None:
    """Written by its kind and its name: rates as percent, p values as such."""
    assert column(name).text({name: value}) == text
    assert column(name).keys == (name,)


@pytest.mark.parametrize(
    ("name", "head", "narrow"),
    [
        ("seed", "seed", "seed"),
        ("adv_margin_p50", "worst margin median", "adv margin\np50"),
        ("n_forward", "number of forward", "n forward"),
    ],
)
def test_heads_are_words(name: str, head: str, narrow: str) -> None:
    assert (column(name).head, column(name).narrow) == (head, narrow)


def test_names_are_read_once_each_in_order() -> None:
    """Hyphens are underscores; a slip is answered with what was meant; none is refused."""
    row = {"model": "m", "seed": 1, "n_forward": 3}
    assert parse_columns(" seed, n-forward,seed,margins ", row) == ("seed", "n_forward", "margins")
    with pytest.raises(UserError, match="did you mean seed"):
        parse_columns("sede", row)
    with pytest.raises(UserError, match="names no column"):
        parse_columns(" , ", row)


def test_only_the_values_behind_the_columns_are_kept() -> None:
    """Each once, in the order of the columns."""
    row = {"model": "m", "n_samples": 2, "n_forward": 3, "n_backward": 4, "x": 5}
    assert select([row], None) == [row]
    (found,) = select([row], ["queries", "n_forward", "model"])
    assert list(found.items()) == [
        ("n_samples", 2),
        ("n_forward", 3),
        ("n_backward", 4),
        ("model", "m"),
    ]


@pytest.mark.parametrize("seeds", [None, 3])
def test_what_rows_differ_in_is_shown_besides(seeds: int | None) -> None:
    """Before the numbers; fp32 and no entry are the same; a deviation only beside a mean."""
    same = {"precision": None, "seed": 1, "checks": None, "n_seeds": seeds}
    other = {**same, "precision": "fp32"}
    assert varying([same, other], DEFAULT) == DEFAULT
    other = {**same, "precision": "bf16", "seed": 2}
    found = usual([same, other])
    assert found[:4] == ("model", "precision", "seed", "clean_accuracy")
    assert [name for name in found if name in DEFAULT] == list(DEFAULT)
    assert ("robust_accuracy_sd" in found) == (seeds is not None)


def test_the_bound_of_an_audit_is_beside_robust_accuracy_where_a_row_has_one() -> None:
    """Once, also where it was chosen."""
    plain = {"precision": None, "seed": 1, "checks": None, "n_seeds": None}
    assert "robust_accuracy_audited" not in usual([plain])
    found = usual([plain | {"robust_accuracy_audited": None}, plain | AUDITED])
    assert found[found.index("robust_accuracy") + 1] == "robust_accuracy_audited"
    assert extended([AUDITED], found) == found
    assert column("robust_accuracy_audited").text(AUDITED) == "61.3%"
