"""Runs of one name over time: which belong together, their values, changes and change points."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from robbench.analysis import history as module
from robbench.analysis.comparable import COLUMNS
from robbench.analysis.history import comparable_groups, histories
from robbench.core.errors import UserError
from robbench.store.run import Run, read_run
from robbench.store.store import Store

Stored = Callable[..., Run]
Make = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def nightly(stored: Stored, make_samples: Make) -> Callable[..., None]:
    """Runs of a model that keeps the first k of n samples, one day after another."""

    def add(kept: Sequence[int], n: int = 200, first: str = "night", **changes: Any) -> None:
        for i, k in enumerate(kept):
            rows = make_samples(n, 7, 0.5)
            for j, row in enumerate(rows):
                row |= {"robust": j < k, "adversarial": j >= k, "clean_correct": True}
            facts = {"model": "nightly", "age": 86400 * i, "attack_params": '["pgd:a"]'}
            facts |= {"model_hash": f"w{i}", "git_sha": f"{i:040x}"} | changes
            stored(f"{first}{i:04d}", rows, **facts)

    return add


def test_values_changes_and_the_change_point(tmp_path: Path, nightly: Any) -> None:
    """Rates counted by hand, an exact binomial interval nearby, and the drop where it was made."""
    nightly([160, 160, 160, 120, 120, 120])
    (found,) = histories(Store(tmp_path), ["nightly"])
    assert [step.value for step in found.steps] == [0.8] * 3 + [0.6] * 3
    assert [step.change for step in found.steps] == pytest.approx([None, 0, 0, -0.2, 0, 0])
    near = binomtest(160, 200).proportion_ci(0.95, "wilson")
    assert (found.steps[0].low, found.steps[0].high) == pytest.approx((near.low, near.high))
    low, high = found.steps[3].change_low, found.steps[3].change_high
    assert low is not None
    assert high is not None
    assert -0.3 < low < -0.2 < high < -0.1
    (shift,) = found.shifts
    assert (shift.run, shift.before, shift.after) == pytest.approx((3, 0.8, 0.6))
    assert shift.p <= 0.05
    assert (found.joint, found.older, found.measure) == (200, 0, "robust_accuracy")
    assert [step.info["git_sha"][-1] for step in found.steps] == list("012345")


def test_only_the_last_runs_are_read(
    tmp_path: Path, nightly: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The samples of older runs stay closed; how many there are is said."""
    nightly([150] * 9)
    read: list[str] = []

    def spy(path: Path, columns: Sequence[str]) -> Run:
        read.append(path.stem)
        return read_run(path, columns)

    monkeypatch.setattr(module, "read_run", spy)
    (found,) = histories(Store(tmp_path), ["nightly"], last=2)
    assert sorted(read) == ["night0007", "night0008"]
    assert (found.older, len(found.steps)) == (7, 2)
    (all_of_them,) = histories(Store(tmp_path), ["nightly"], last=None)
    assert (all_of_them.older, len(all_of_them.steps)) == (0, 9)


def test_runs_that_differ_are_apart_and_it_is_said_in_what(tmp_path: Path, nightly: Any) -> None:
    """Other threats and attacks each are a history of their own; other seeds are not."""
    nightly([150, 140])
    nightly([130], first="more", threat="linf:0.2", eps=0.2)
    nightly([120], first="last", attack="apgd", attack_params='["apgd:b"]', seed=5, age=9)
    first, *others = histories(Store(tmp_path), ["nightly"])
    assert first.differs == []
    said = sorted(text for one in others for text in one.differs)
    assert said == ["attack: pgd:steps=10 and apgd", "threat: linf:0.15 and linf:0.2"]


def test_models_of_other_names_are_apart(tmp_path: Path, nightly: Any) -> None:
    """A pattern may mean several."""
    nightly([150, 140])
    nightly([130, 120], first="more", model="nightly-b")
    found = histories(Store(tmp_path), ["night*"])
    assert [(one.info["model"], len(one.steps), one.differs) for one in found] == [
        ("nightly", 2, []),
        ("nightly-b", 2, []),
    ]


def test_grouping_is_by_what_comparison_needs() -> None:
    """A budget written otherwise is the same, as is the order of a cascade."""
    base: dict[str, Any] = dict.fromkeys(COLUMNS, "x") | {
        "model": "m",
        "started_at": 0,
        "run_id": "a",
        "eps": 8 / 255,
        "max_time_s": None,
        "max_queries": None,
        "attack_params": json.dumps(["a", "b"]),
    }
    same = base | {"eps": 0.03137255, "threat": "y", "attack_params": json.dumps(["b", "a"])}
    other = base | {"eps": 4 / 255, "threat": "z"}
    rows = [other | {"started_at": 2}, same | {"started_at": 1}, base, same | {"started_at": 3}]
    assert comparable_groups(rows) == [[2, 1, 3], [0]]


def test_samples_that_only_some_runs_have(
    tmp_path: Path, stored: Stored, make_samples: Make
) -> None:
    """Changes are of the samples that two runs share, change points of those that all have."""
    for i, rows in enumerate((make_samples(50, 1), make_samples(80, 1), make_samples(60, 1))):
        shuffled = [rows[j] for j in np.random.default_rng(i).permutation(len(rows))]
        stored(f"run{i}", shuffled, age=i, model_hash=f"w{i}")
    (found,) = histories(Store(tmp_path), ["ce"])
    assert [step.paired for step in found.steps] == [0, 50, 60]
    assert [step.n for step in found.steps] == [50, 80, 60]
    assert found.joint == 50
    assert [step.change for step in found.steps[1:]] == [0, 0]  # the same samples fall


def test_the_median_distance_of_runs_without_a_budget(
    tmp_path: Path, stored: Stored, make_samples: Make
) -> None:
    """It is shown without being asked for; where half is unbroken it is infinite."""
    facts = {"eps": float("inf"), "threat": "linf:inf"}
    for i, scale in enumerate((1.0, 1.0, 0.25, 0.25)):
        rows = make_samples(101, 3)
        for j, row in enumerate(rows):
            row |= {"dist_linf": 0.001 * (j + 1) * scale, "adversarial": True, "robust": False}
        stored(f"run{i}", rows, age=i, model_hash=f"w{i}", **facts)
    (found,) = histories(Store(tmp_path), ["ce"])
    assert found.measure == "median_distance"
    assert [step.value for step in found.steps] == pytest.approx(
        [0.051, 0.051, 0.01275, 0.01275], rel=1e-5
    )
    assert found.steps[0].low < 0.051 < found.steps[0].high
    assert found.steps[2].change == pytest.approx(-0.03825, rel=1e-4)
    assert [shift.run for shift in found.shifts] == [2]
    with pytest.raises(UserError, match="no run of these has robust_accuracy"):
        histories(Store(tmp_path), ["ce"], measure="robust_accuracy")
    (clean,) = histories(Store(tmp_path), ["ce"], measure="clean_accuracy")
    assert clean.measure == "clean_accuracy"


@pytest.mark.parametrize("fallen", [180, 80])
def test_a_change_where_the_median_of_all_is_infinite(
    tmp_path: Path, stored: Stored, make_samples: Make, fallen: int
) -> None:
    """Unbroken samples become fewer: that is seen also where half or more stay unbroken."""
    facts = {"eps": float("inf"), "threat": "linf:inf"}
    for i, k in enumerate((20, 20, 20, fallen, fallen)):
        rows = make_samples(200, 3)
        for j, row in enumerate(rows):
            distance = 0.1 if j < k else None
            row |= {"dist_linf": distance, "adversarial": j < k, "robust": j >= k}
            row |= {"clean_correct": True}
        stored(f"run{i}", rows, age=i, model_hash=f"w{i}", **facts)
    (found,) = histories(Store(tmp_path), ["ce"])
    assert [shift.run for shift in found.shifts] == [3]
    assert found.shifts[0].before == float("inf")
    assert (found.shifts[0].after == float("inf")) == (fallen == 80)


def test_the_change_told_is_that_of_the_samples_tested(
    tmp_path: Path, stored: Stored, make_samples: Make
) -> None:
    """Of 400 samples 100 withstand, later of those 100 only 60: a fall, not from 25 % to 60 %."""
    for i, (n, k) in enumerate(((400, 100), (100, 60))):
        rows = make_samples(n, 1)
        for j, row in enumerate(rows):
            row |= {"robust": j < k, "adversarial": j >= k, "clean_correct": True}
        stored(f"run{i}", rows, age=i, model_hash=f"w{i}")
    (found,) = histories(Store(tmp_path), ["ce"])
    assert [step.value for step in found.steps] == [0.25, 0.6]
    (shift,) = found.shifts
    assert (shift.before, shift.after) == (1.0, 0.6)


def test_a_measure_that_is_none(tmp_path: Path, nightly: Any) -> None:
    """The known ones are named."""
    nightly([150])
    with pytest.raises(UserError, match="robust_accuracy"):
        histories(Store(tmp_path), ["nightly"], measure="robust")
