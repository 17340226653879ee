"""One plan's attack: stopped, continued, and found done, against one that nothing interrupted."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest

from robbench.core.errors import UserError
from robbench.core.part import Part
from robbench.core.spec import validate
from robbench.store.run import read_points
from robbench.store.store import Store
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.attack.job import AttackJob, Outcome
from robbench.tasks.attack.plan import AttackPlan, plan_attacks
from robbench.tasks.listener import Bar
from robbench.tasks.signals import StopFlag

from .listeners import Noting, Stopping

SIZE = 24


def plan(out: Path, **settings: object) -> AttackPlan:
    config = validate(
        AttackConfig,
        {
            "data": "digits",
            "limit": SIZE,
            "threat": ["linf:0.01,0.1"],
            "attack": ["pgd:steps=20"],
            "batch_size": 4,
            **settings,
        },
        "attack",
    )
    (found,) = plan_attacks(["mlp:width=8,depth=1"], config, out=out, device="cpu")
    return found


def run(
    out: Path, *, stopped: bool = False, force: bool = False, **settings: object
) -> tuple[Outcome, list[str]]:
    stop, listener = StopFlag(), Noting()
    bar = Stopping(stop, after=8) if stopped else Bar()
    job = AttackJob(plan(out, **settings), Store(out), listener, bar, stop, None)
    return job.run(force=force), listener.said


def rows(outcome: Outcome) -> list[list[dict]]:
    return [found.samples.to_pylist() for found in outcome.runs]


@pytest.mark.parametrize("points", [False, True])
def test_stopped_and_continued_gives_the_rows_of_a_job_that_ran_through(tmp_path, points):
    """Every budget; what was kept is said; with and without points; a third time it is done."""
    whole, said = run(tmp_path / "whole", store_points=points)
    assert (whole.fresh, said, len(whole.runs)) == (True, [], 2)
    out = tmp_path / "out"
    assert run(out, stopped=True, store_points=points) == (Outcome([], fresh=True), [])
    store = Store(out)
    ids = plan(out, store_points=points).run_ids
    kept = [{row["sample_index"] for row in store.partial(run_id).rows()} for run_id in ids]
    known = len(set.intersection(*kept))
    assert 0 < known < SIZE
    again, said = run(out, store_points=points)
    assert said == [
        f"going on with {plan(out).title}: {known} of {SIZE} samples are decided already"
    ]
    assert again.fresh
    assert rows(again) == rows(whole)
    assert all(math.isnan(found.info["wall_s"]) for found in again.runs)  # of two processes
    assert not any(store.partial(run_id).rows() for run_id in ids)
    third, said = run(out, store_points=points)
    assert (third.fresh, said) == (False, [])
    assert rows(third) == rows(whole)


def test_force_takes_nothing_of_an_earlier_job(tmp_path):
    """Neither its shards nor its runs."""
    run(tmp_path, stopped=True)
    first, said = run(tmp_path, force=True)
    assert (first.fresh, said) == (True, [])
    assert all(found.info["wall_s"] > 0 for found in first.runs)
    second, _ = run(tmp_path, force=True)
    assert second.fresh
    assert rows(second) == rows(first)


def test_points_that_do_not_fit_are_refused_before_anything_is_written(tmp_path):
    """Of a run that kept none."""
    (first, *_) = run(tmp_path)[0].runs
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match="points"):
        run(tmp_path, replay=[first.info["run_id"]], attack=["fgsm"])
    assert sorted(tmp_path.rglob("*")) == before


# -- parts, as several processes decide them


def parts_of(out: Path, count: int, order: list[int], **settings: object) -> Outcome:
    """The outcome of the last of some parts, one after the other."""
    for number in order:
        found = dataclasses.replace(plan(out, **settings), part=Part(number, count))
        job = AttackJob(found, Store(out), Noting(), Bar(), StopFlag(), None)
        outcome = job.run(force=False)
    return outcome


SETTINGS: list[dict[str, object]] = [
    {},
    {"store_points": True},
    {"max_queries": 9, "attack": ["apgd:steps=5", "square:steps=10"]},
    {"threat": ["l2:inf"], "attack": ["fmn:steps=10"], "store_points": True},
    {"target": "least-likely", "attack": ["pgd:steps=5,restarts=2"], "batch_size": 3},
    {"audit": 6, "audit_attack": ["apgd:steps=30"], "store_points": True},
]


@pytest.mark.few(3)
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_parts_give_the_rows_of_one_process(tmp_path, settings):
    """Whatever is attacked and however it is split; the one that ends last writes the runs."""
    whole, _ = run(tmp_path / "whole", **settings)
    points = points_of(tmp_path / "whole", whole)
    out = tmp_path / "out"
    joined = parts_of(out, 3, [3, 1, 2], **settings)
    assert joined.fresh
    assert rows(joined) == rows(whole)
    assert points_of(out, joined) == points
    assert [facts(found) for found in joined.runs] == [facts(found) for found in whole.runs]
    assert not any(Store(out).partial(found.info["run_id"]).rows() for found in joined.runs)


def points_of(out: Path, outcome: Outcome) -> list[list[dict]]:
    """The stored points of runs, by sample."""
    paths = [Store(out).run_path(found.info["run_id"]) for found in outcome.runs]
    if "points" not in {path.name for path in (out / "results").iterdir()}:
        return []
    return [sorted(read_points(path), key=lambda row: row["sample_id"]) for path in paths]


def facts(found) -> dict:
    """A run's row, but for times and what no process of several knows."""
    of_process = {"started_at", "finished_at", "wall_s", "n_disagreements", "provenance"}
    return {name: value for name, value in found.info.items() if name not in of_process}


def test_parts_that_are_missing_leave_the_run_unwritten(tmp_path):
    """Then anybody goes on: a part of another split, or all at once; nothing is done twice."""
    whole, _ = run(tmp_path / "whole")
    assert parts_of(tmp_path, 4, [1, 3, 1]) == Outcome([], fresh=True)
    store, found = Store(tmp_path), plan(tmp_path)
    kept = [store.partial(run_id).rows() for run_id in found.run_ids]
    assert [{row["sample_index"] for row in rows} for rows in kept] == [set(range(0, SIZE, 2))] * 2
    assert [len(rows) for rows in kept] == [SIZE // 2] * 2
    assert parts_of(tmp_path, 3, [2]) == Outcome([], fresh=True)
    again, said = run(tmp_path)
    assert said == [f"going on with {found.title}: 16 of {SIZE} samples are decided already"]
    assert rows(again) == rows(whole)


def test_a_part_of_a_finished_run_has_nothing_to_do(tmp_path):
    """It reads the run."""
    whole, _ = run(tmp_path)
    again = parts_of(tmp_path, 4, [2])
    assert (again.fresh, rows(again)) == (False, rows(whole))


def test_parts_of_other_settings_are_other_runs(tmp_path):
    """Half of one and half of another make none."""
    assert parts_of(tmp_path, 2, [1], attack=["fgsm"]) == Outcome([], fresh=True)
    assert parts_of(tmp_path, 2, [2], attack=["fgsm:objective=dlr"]) == Outcome([], fresh=True)


@pytest.mark.parametrize("points", [False, True])
def test_a_part_mends_runs_that_a_kill_left_half_dropped(tmp_path, points):
    """As the whole job does: the run is found done, and of its shards nothing is left."""
    whole, _ = run(tmp_path, store_points=points)
    store, ids = Store(tmp_path), [found.info["run_id"] for found in whole.runs]
    store.partial(ids[-1]).append([{**row, "audited": None} for row in rows(whole)[-1][:5]])
    again = parts_of(tmp_path, 2, [2], store_points=points)
    assert (again.fresh, rows(again)) == (False, rows(whole))
    assert store.partial(ids[-1]).rows() == []


def test_a_part_of_a_run_that_has_lost_its_points_makes_them_again(tmp_path):
    """All parts together give what was lost."""
    whole, _ = run(tmp_path, store_points=True)
    before = points_of(tmp_path, whole)
    for found in whole.runs:
        (tmp_path / "results" / "points" / f"{found.info['run_id']}.parquet").unlink()
    again = parts_of(tmp_path, 2, [1, 2], store_points=True)
    assert (again.fresh, rows(again)) == (True, rows(whole))
    assert points_of(tmp_path, again) == before
