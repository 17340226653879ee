"""A verdict as a row, and the median distance of a run without a budget."""

from __future__ import annotations

import math
import statistics
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robbench.core.norms import NORMS
from robbench.engine.records import CLEAN, NOTHING, REPLAY, Verdict
from robbench.store.schema import SAMPLES
from robbench.tasks.attack.rows import _median_distance as median_distance
from robbench.tasks.attack.rows import audited_row, sample_row

PLAN: Any = SimpleNamespace(
    run_ids=["aaaa", "bbbb"],
    breakers=("pgd", "apgd"),
    subject=SimpleNamespace(rejects=False),
)


def _verdict(**changes: Any) -> Verdict:
    numbers = {name: n for n, name in enumerate(Verdict._fields)}
    return Verdict(
        **{**numbers, "eps_index": 1, "known": True, "entry": 1, "clean_wrong": False, **changes}
    )


@pytest.mark.parametrize(
    ("entry", "broken_by"),
    [(CLEAN, "clean"), (REPLAY, "replay"), (NOTHING, None), (0, "pgd"), (1, "apgd")],
)
@pytest.mark.parametrize("known", [False, True])
def test_every_fact_of_a_verdict_is_in_its_column(
    entry: int, broken_by: str | None, known: bool
) -> None:
    """Under its own name or that of the table; a margin nobody knows is null, and so is -1."""
    v = _verdict(entry=entry, known=known, variant=-1, step=0, adversarial=True)
    row = sample_row(PLAN, v, 40, 123, 7)
    assert (row["run_id"], row["sample_index"], row["sample_id"], row["label"]) == (
        "bbbb",
        40,
        123,
        7,
    )
    assert row["broken_by"] == broken_by
    assert row["clean_correct"] == (entry != CLEAN)
    assert row["robust"] is False
    assert row["broken_variant"] is None
    assert row["first_success_step"] == 0
    names = {f"dist_{norm}": norm for norm in NORMS}
    same = set(row) & set(Verdict._fields) - {"adv_margin", "adv_pmargin"}
    assert len(same) >= 9
    for name in same | set(names):
        assert row[name] == getattr(v, names.get(name, name)), name
    for name in ("adv_margin", "adv_pmargin"):
        assert row[name] == (getattr(v, name) if known else None)


def test_a_row_has_the_columns_of_the_table() -> None:
    """Each that may not be null."""
    row = sample_row(PLAN, _verdict(), 0, 1, 2)
    assert {field.name for field in SAMPLES if not field.nullable} <= set(row) | {"schema_version"}
    assert set(row) <= set(SAMPLES.names)


def test_the_row_of_a_sample_that_an_audit_broke_is_of_the_point_of_the_audit() -> None:
    """In every column that describes a point, of each norm too; the clean input's stay."""
    before = sample_row(PLAN, _verdict(adversarial=False, adv_margin=1.0), 40, 123, 7)
    point = {name: 100.0 + n for n, name in enumerate((*NORMS, "adv_pred", "adv_pmargin"))}
    audit = _verdict(**point, adversarial=True, entry=0, adv_margin=-1.0)
    found = sample_row(PLAN, audit, 40, 123, 7)
    row = audited_row(before, found)
    for name in found:
        if name.startswith(("adv_p", "adv_m", "dist_")) or name in ("robust", "broken_by"):
            assert row[name] == found[name] != before[name], name
        elif name.startswith("clean_"):
            assert row[name] == before[name], name
    assert row["n_forward"] == before["n_forward"] + found["n_forward"]


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 9)), min_size=1, max_size=12))
def test_the_median_distance_counts_who_was_not_found_as_endless(
    found: list[tuple[bool, float]],
) -> None:
    """As the standard library's median."""
    rows = [{"adversarial": a, "dist_l2": d, "dist_linf": 99.0} for a, d in found]
    expected = statistics.median([d if a else math.inf for a, d in found])
    assert median_distance(rows, "l2") == expected
