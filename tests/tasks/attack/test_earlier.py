"""Which rows of an earlier process are still of the split: a plain loop over samples."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robbench.data.base import Split
from robbench.store.store import Store
from robbench.tasks.attack.earlier import (
    decided,
    finished,
    left_to_others,
    mend,
    of_split,
    to_mend,
)


def _split(ids: list[int], labels: list[int]) -> Split:
    n = len(ids)
    return Split(
        torch.zeros(n, 1, 1, 1),
        torch.tensor(labels),
        torch.tensor(ids),
        ("a", "b", "c"),
        "toy",
        "test",
    )


FACTS = st.tuples(st.integers(0, 5), st.integers(10, 14), st.integers(0, 2))


@given(
    st.lists(st.tuples(st.integers(10, 14), st.integers(0, 2)), min_size=1, max_size=5),
    st.lists(FACTS, max_size=8),
)
def test_a_row_counts_at_its_place_under_its_label(
    samples: list[tuple[int, int]], facts: list[tuple[int, int, int]]
) -> None:
    """Another sample there, another label, or a place beyond the end: to be done again."""
    split = _split(*map(list, zip(*samples, strict=True)))
    rows = [
        {"sample_index": i, "sample_id": sample, "label": label, "n": n}
        for n, (i, sample, label) in enumerate(facts)
    ]
    expected: dict[int, int] = {}
    for row in rows:
        i = row["sample_index"]
        if i < len(samples) and samples[i] == (row["sample_id"], row["label"]):
            expected[i] = row["n"]  # the last one written
    assert {i: row["n"] for i, row in of_split(rows, split).items()} == expected


@pytest.fixture
def plan(make_samples: Any) -> Any:
    """A plan of one run on twenty samples, all rows known."""
    rows = make_samples()
    split = _split([row["sample_id"] for row in rows], [0] * len(rows))
    config = SimpleNamespace(store_points=False)
    return SimpleNamespace(run_ids=["aaaa"], config=config, subject=SimpleNamespace(split=split))


def _rows(make_samples: Any) -> list[dict[str, Any]]:
    return [{**row, "label": 0, "dist_linf": 0.0} for row in make_samples()]


def test_a_run_is_finished_when_its_files_are_there_and_no_shards(
    tmp_path: Path, plan: Any, make_samples: Any, stored: Any
) -> None:
    """Shards beside a finished run are those of a repetition that was stopped."""
    store = Store(tmp_path)
    assert finished(plan, store) is None
    stored("aaaa", _rows(make_samples))
    runs = finished(plan, store)
    assert runs is not None
    assert [run.info["run_id"] for run in runs] == ["aaaa"]
    store.partial("aaaa").append(_rows(make_samples)[:3])
    assert finished(plan, store) is None
    plan.run_ids.append("bbbb")
    assert finished(plan, store) is None


def test_what_shards_hold_is_decided(tmp_path: Path, plan: Any, make_samples: Any) -> None:
    """By place; where points are to be kept, only with its point or surely unmoved."""
    store, rows = Store(tmp_path), _rows(make_samples)
    store.partial("aaaa").append(rows[:12])
    (found,) = decided(plan, [store.partial("aaaa")])
    assert sorted(found) == list(range(12))
    plan.config.store_points = True
    rows = [{**row, "dist_linf": (0.0, 0.1, None)[row["sample_index"] % 3]} for row in rows]
    store.partial("aaaa").append(rows[12:])
    (found,) = decided(plan, [store.partial("aaaa")])
    moved = [row["sample_index"] for row in rows[12:] if row["dist_linf"] != 0]
    assert set(moved).isdisjoint(found)
    assert {i for i in range(12, 20) if i not in moved} <= set(found)


def test_shards_of_written_runs_are_dropped_by_their_owner_only_when_behind(
    tmp_path: Path, plan: Any, make_samples: Any, stored: Any
) -> None:
    """A smaller budget's samples are dropped last: where a larger one's are ahead, it was begun."""
    plan.run_ids.append("bbbb")
    store, rows = Store(tmp_path), _rows(make_samples)
    for run_id in plan.run_ids:
        stored(run_id, rows)
    store.partial("aaaa").append(rows[:4])
    store.partial("bbbb").append(rows[:2])
    assert not to_mend(plan, store)
    mend(plan, store)  # the smaller budget is ahead: a repetition that was stopped
    assert len(store.partial("aaaa").rows()) == 4
    store.partial("aaaa").discard()
    assert to_mend(plan, store)
    mend(plan, store)
    assert not to_mend(plan, store)
    assert store.partial("bbbb").rows() == []


def test_what_other_parts_have_still_to_decide(
    tmp_path: Path, plan: Any, make_samples: Any
) -> None:
    """A sample is decided when it is at every budget."""
    plan.run_ids.append("bbbb")
    store, rows = Store(tmp_path), _rows(make_samples)
    store.partial("aaaa").append(rows[:9])
    store.partial("bbbb").append(rows[5:15])
    assert left_to_others(plan, store).startswith("16 of 20 samples are left")
