"""One plan's attack: stopped, continued, and found done, against one that nothing interrupted."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from robbench.core.errors import UserError
from robbench.core.spec import validate
from robbench.store.store import Store
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.attack.job import AttackJob, Outcome
from robbench.tasks.attack.plan import AttackPlan, plan_attacks
from robbench.tasks.listener import Bar, Listener
from robbench.tasks.signals import StopFlag

SIZE = 24


class Noting(Listener):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


class Stopping(Bar):
    """Asks to stop as soon as a few samples are decided."""

    def __init__(self, stop: StopFlag) -> None:
        self.stop = stop

    def update(self, share: float, text: str, left: str = "") -> None:
        if int(text.partition("/")[0]) >= 8:
            self.stop.exit_code = 130


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
    bar = Stopping(stop) if stopped else Bar()
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
