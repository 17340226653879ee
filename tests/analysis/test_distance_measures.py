"""Measures on input margins: by hand, and against the functions they come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

from robbench.analysis.distance_measures import is_distance, measure_distances
from robbench.store.measured import (
    Measure,
    read_measures,
    read_sample_measures,
    write_measures,
)

IDS = [1000 + 7 * i for i in range(60)]


def by_name(path: Path, n: int) -> dict[str, Measure]:
    """The measures of the first n samples."""
    return {m.name: m for m in measure_distances(path, "test", IDS[:n])[0]}


def test_a_median_beyond_what_was_attacked_is_not_known(run, tmp_path):
    """Null, with the reason; a censored sample's row holds its lower end."""
    run("linf:0.1", [None, None, 0.05])
    measures, columns = measure_distances(
        tmp_path / "results" / "runs" / "run0.parquet", "test", IDS[:4]
    )
    assert measures[0].value is None
    assert "above 0.1" in measures[0].detail["reason"]
    assert columns["input_margin_linf"] == pytest.approx([0.1, 0.1, 0.05, None])
    assert columns["censored_linf"] == [True, True, False, None]


def test_measures_are_written_read_and_dropped_with_their_run(
    run, tmp_path, make_run, make_samples
):
    """What was written is read back; a run that is written anew has none."""
    run("linf:0.1", [None, 0.05])
    path = tmp_path / "results" / "runs" / "run0.parquet"
    assert read_measures(path) is None
    measures, columns = measure_distances(path, "test", IDS[:2])
    rows = [
        {
            "sample_id": i,
            "sample_index": n,
            "label": 3,
            "clean_confidence": 0.5,
            "clean_logit_norm": 1.0,
        }
        for n, i in enumerate(IDS[:2])
    ]
    write_measures(
        path,
        measures,
        [row | {name: v[i] for name, v in columns.items()} for i, row in enumerate(rows)],
    )
    assert [m.name for m in read_measures(path)] == [m.name for m in measures]
    assert [row["censored_linf"] for row in read_sample_measures(path)] == [True, False]
    run_again = make_samples(2)
    from robbench.store.store import Store

    Store(tmp_path).write(make_run("run0", run_again), run_again)
    assert read_measures(path) is None
    assert not (tmp_path / "results" / "sample_measures" / "run0.parquet").exists()


def test_input_margins_by_all_runs_of_the_weights(run, tmp_path):
    """The smallest of two runs, and who had a part in it."""
    run("linf:0.1", [None])
    run("linf:0.2", [0.15])
    measures, columns = measure_distances(
        tmp_path / "results" / "runs" / "run0.parquet", "test", IDS[:1]
    )
    values = {m.name: m.value for m in measures if m.value is not None}
    assert values == pytest.approx({"input_margin_linf": 0.15, "security_curve_linf": 0.15})
    assert measures[0].detail["runs"] == ["run0", "run1"]
    assert columns["input_margin_linf"] == pytest.approx([0.15])
    assert columns["censored_linf"] == [False]
    assert all(is_distance(m) and "reason" in m.detail for m in measures if m.value is None)


def test_a_budget_gives_auroc_and_a_run_without_one_tau(run, tmp_path):
    """Each from its own kind of run, of the same weights; what one cannot give is null."""
    draw = np.random.default_rng(0)
    margins = draw.gamma(2.0, size=60)
    sizes = margins * draw.gamma(4.0, 0.02, size=60)
    sizes[0] = 0
    inside = [s if s <= 0.1 else None for s in sizes]
    run("l2:0.1", inside, margins=margins)
    run("l2:inf", list(sizes), margins=margins)
    folder = tmp_path / "results" / "runs"
    budget, free = (by_name(folder / f"run{i}.parquet", 60) for i in range(2))
    tau = kendalltau(np.float32(margins)[1:], np.float32(sizes)[1:]).statistic
    for found in (budget, free):
        assert found["margin_consistency_l2"].value == pytest.approx(tau)
        assert found["margin_consistency_l2"].detail["runs"] == ["run0", "run1"]
    small, large = (margins[1:][(sizes[1:] <= 0.1) == below] for below in (True, False))
    counted = (small[:, None] < large).mean()
    assert budget["brittle_auroc"].value == pytest.approx(counted)
    assert budget["brittle_auroc"].detail["brittle"] == len(small)
    assert 0 <= budget["brittle_fpr95"].value <= 1
    assert free["brittle_auroc"].value is None
    assert budget["optimality"].value is None
    assert "stop at their first success" in budget["optimality"].detail["reason"]
    assert free["optimality"].value == pytest.approx(1)
    assert free["optimality"].detail["other_runs"] == 1
    assert free["optimality"].detail["other_minimum_norm_runs"] == 0


def test_only_the_runs_own_norm_has_optimality(run, tmp_path):
    """Other norms' input margins have their tau, and no more."""
    sizes = np.linspace(0.1, 2, 20)
    run("l2:inf", list(sizes), margins=sizes)
    run("linf:inf", list(sizes / 4), margins=sizes)
    measures = measure_distances(tmp_path / "results" / "runs" / "run0.parquet", "test", IDS[:20])[
        0
    ]
    names = [m.name for m in measures]
    assert names.count("optimality") == names.count("brittle_auroc") == 1
    assert {"margin_consistency_l2", "margin_consistency_linf"} <= set(names)
    assert all(m.value == 1 for m in measures if m.name.startswith("margin_consistency_"))


def test_a_run_to_a_target_has_the_margins_of_others(run, tmp_path):
    """It is none of those that seek the nearest mistake: no optimality."""
    sizes = list(np.linspace(0.1, 2, 20))
    run("l2:inf", sizes, target="least-likely")
    assert by_name(tmp_path / "results" / "runs" / "run0.parquet", 20) == {}
    run("l2:inf", sizes, margins=sizes)
    found = by_name(tmp_path / "results" / "runs" / "run0.parquet", 20)
    assert found["margin_consistency_l2"].value == 1
    assert found["optimality"].value is None
    assert "target" in found["optimality"].detail["reason"]
