"""An attack over workers: equal rows whatever the number of parts, also where a worker dies."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import pytest

from robbench.core.errors import RunError, UserError
from robbench.core.part import Part
from robbench.core.spec import validate
from robbench.execution.inline import Inline
from robbench.execution.task import Outcome as Tried
from robbench.store.run import read_points
from robbench.store.store import Store
from robbench.tasks.attack import parts
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.attack.job import AttackJob, Outcome
from robbench.tasks.attack.parts import Crew, Workers
from robbench.tasks.attack.plan import AttackPlan, plan_attacks
from robbench.tasks.attack.session import AttackSession
from robbench.tasks.listener import Bar, Listener
from robbench.tasks.signals import StopFlag

SIZE = 24
AUDIT = {"audit": 1, "audit_attack": ["pgd:steps=10"], "attack": ["fgsm"]}


@pytest.fixture(autouse=True)
def _on_one_thread(one_thread):
    """Small models only."""


class Counting(Inline):
    """Notes the tasks it ran, and loses the first try of some."""

    def __init__(self, *lost: int) -> None:
        super().__init__()
        self.lost, self.tries = set(lost), list[tuple[int, int, bool]]()

    def wait(self, timeout: float) -> list[Tried]:
        task = self._next
        if task is None:
            return []
        self.tries.append((*task.payload["part"], task.payload["audit"]))
        if len(self.tries) in self.lost:
            self._next = None
            return [Tried(task.id, "lost", error="its worker was killed", code=3)]
        return super().wait(timeout)


def plan(out: Path, **settings: object) -> AttackPlan:
    usual = {"data": "digits", "limit": SIZE, "threat": ["linf:0.02,0.05"], "batch_size": 4}
    config = validate(AttackConfig, {"attack": ["pgd:steps=3"], **usual, **settings}, "attack")
    (found,) = plan_attacks(["ce"], config, out=out, device="cpu")
    return found


def alone(found: AttackPlan, store: Store) -> AttackJob:
    return AttackJob(found, store, Listener(), Bar(), StopFlag(), None)


def over(
    engine: Inline, out: Path, size: int, *, force: bool = False, **settings: object
) -> Outcome:
    """What a crew of workers and then the job itself come to."""
    job = alone(plan(out, **settings), Store(out))
    Crew(Workers(jobs=size), job.store, engine).decide(job, force=force)
    return job.run(force=False)


def rows(outcome: Outcome) -> list[list[dict]]:
    return [found.samples.to_pylist() for found in outcome.runs]


@pytest.mark.parametrize("signs", [[], ["zero-gradient"]])
def test_an_audit_in_parts_is_that_of_one_process(store, tmp_path, monkeypatch, signs):
    """What is drawn is audited budget by budget; with signs of masking so is all that is left."""
    settings = {**AUDIT, "adaptive": True, "store_points": True}
    monkeypatch.setattr(AttackSession, "masking", lambda self, rows: signs)
    elsewhere = Store(tmp_path / "elsewhere")
    found = plan(store, **settings)
    whole = alone(found, elsewhere).run(force=False)
    audited = [sum(row["audited"] for row in each) for each in rows(whole)]
    assert (min(audited) > 1) == bool(signs)
    assert rows(over(engine := Counting(), store, 3, **settings)) == rows(whole)
    ids = [run.info["run_id"] for run in whole.runs]
    mine, theirs = (
        [[*read_points(each.run_path(run_id))] for run_id in ids]
        for each in (Store(store), elsewhere)
    )
    for left, right in zip(mine, theirs, strict=True):
        assert sorted(left, key=str) == sorted(right, key=str)
    assert engine.tries[:3] == [(1, 3, False), (2, 3, False), (3, 3, False)]
    assert all(audit for *_, audit in engine.tries[3:])


def test_a_lost_worker_costs_its_part_one_try(store, tmp_path):
    """A second one goes on; two lost tries end it, and the same command then does the rest."""
    whole = alone(plan(store), Store(tmp_path / "elsewhere")).run(force=False)
    with pytest.raises(RunError, match="part 2/4: its worker was killed; decided samples are kept"):
        over(Counting(2, 5), store, 4)
    kept = Store(store).partial(whole.runs[0].info["run_id"]).rows()
    assert len(kept) == SIZE - SIZE // 4
    assert rows(over(engine := Counting(1), store, 2)) == rows(whole)
    assert engine.tries == [(1, 2, False), (2, 2, False), (1, 2, False)]


def test_force_replaces_a_finished_run(store):
    """All parts are attacked again, none counts the finished run for its own."""
    first, engine = over(Counting(), store, 2), Counting()
    assert over(engine, store, 2).fresh is False
    assert engine.tries == []
    second = over(engine, store, 2, force=True)
    assert second.fresh
    assert len(engine.tries) == 2
    assert rows(second) == rows(first)


def test_never_more_parts_than_samples_and_a_part_is_cut_further(store):
    """Workers of a part decide its samples, and leave the run to others."""
    over(engine := Counting(), store, 9, limit=5)
    assert len(engine.tries) == 5
    job = alone(dataclasses.replace(plan(store), part=Part(2, 3)), Store(store))
    Crew(Workers(jobs=2), job.store, engine := Counting()).decide(job, force=False)
    assert [tried[:2] for tried in engine.tries] == [(2, 6), (5, 6)]
    kept = job.store.partial(job.plan.run_ids[0]).rows()
    assert sorted(row["sample_index"] for row in kept) == list(range(1, SIZE, 3))
    Crew(Workers(jobs=2), job.store, engine := Counting()).decide(job, force=False)
    assert engine.tries == []  # nothing is left of the part


def test_a_worker_that_sees_another_model_decides_nothing(store):
    """Its run has another id."""
    job = alone(plan(store), Store(store))
    payload = Crew(Workers(), job.store, Inline())._payload(job.plan, Part(1, 2), False, False)
    with pytest.raises(RunError, match="others in the worker"):
        parts.decide_part({**payload, "model": "at"})
    assert not (store / "results" / "partial").exists()


def test_a_limit_of_time_is_of_one_process(store):
    """Said before a worker is started."""
    found = plan(store, max_time="5m")
    assert Workers().crew([found], Store(store)) is None
    assert Workers(jobs=1).crew([found], Store(store)) is None
    with pytest.raises(UserError, match="--max-time"):
        Workers(jobs=2).crew([found], Store(store))


@pytest.mark.parametrize("words", ["--shard 1/2", "--jobs 2", "--engine ray --address local"])
def test_parts_at_an_address_are_refused(cli, store, tmp_path, words):
    """With what to do instead, and before anything is attacked or put there."""
    pytest.importorskip("ray")
    there = tmp_path / "there"
    line = f"attack {store}/models/ce -a fgsm --limit 4 {words} --out file://{there}"
    env = {"ROBBENCH_COPIES": str(tmp_path / "copies")}
    done = cli(line, env=env)
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines()[-1] == (
        f"error: --out file://{there}: parts of an attack need a folder that their processes "
        "share: attack with --out FOLDER, and copy it to the address afterwards"
    )
    assert [path for path in tmp_path.glob("*/**/results/**/*") if store not in path.parents] == []
    assert cli(line.replace(words, "--shard 1/1 --jobs 1"), env=env).code == 0


@pytest.mark.parametrize("more", ["", "--dry-run"])
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--address host:1", "address names a Ray cluster"),
        ("--engine bogus", "unknown engine 'bogus'"),
        ("--jobs 2 --max-time 5m", "--max-time is the time of a whole run"),
        ("--replay {there}", "points"),
    ],
)
def test_a_dry_run_refuses_what_the_attack_does(cli, store, tmp_path, words, said, more):
    """With the same line, and nothing is written."""
    how = f"attack {store}/models/ce -a fgsm --limit 4"
    there = tmp_path / "there"
    assert cli(f"{how} --name mine --out {there}").code == 0  # keeps no points
    (run,) = (there / "results" / "runs").iterdir()
    out = tmp_path / "out"
    done = cli(f"{how} {words.format(there=run)} --out {out} {more}")
    assert (done.code, done.out, out.exists()) == (2, "", False)
    assert said in done.err.splitlines()[-1]


KILLING = """
import os
import shutil
from pathlib import Path
from torch import nn

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 10)
        nn.init.orthogonal_(self.head.weight)

    def forward(self, x):
        flag = Path(os.environ["KILL_ONCE"])
        if str(os.getpid()) != os.environ["KILL_NOT"] and flag.exists():
            flag.unlink()
            os.kill(os.getpid(), 9)
        return self.head(x.flatten(1))

def make():
    return Model()
"""


@pytest.mark.slow
def test_a_worker_process_that_is_killed_changes_no_row(cli, private, tmp_path, rows_of):
    """Private code typed in the command, two processes, the first of which dies at once."""
    folder, flag = private("killing", KILLING), tmp_path / "flag"
    line = "attack killing:make --data digits --limit 12 --threat linf:0.1 --attack pgd:steps=3"
    env = {"KILL_ONCE": str(flag), "KILL_NOT": str(os.getpid())}
    for jobs in ("1", "2"):
        if jobs == "2":
            flag.touch()
        done = cli(line, "--jobs", jobs, "--out", tmp_path / jobs, env=env, cwd=folder)
        assert done.code == 0, done.err
    assert not flag.exists()
    (one,), (two,) = (
        list((tmp_path / jobs / "results" / "samples").glob("*.parquet")) for jobs in ("1", "2")
    )
    assert one.name == two.name
    assert rows_of(one) == rows_of(two)


@pytest.mark.slow
def test_parts_on_a_ray_cluster_are_those_of_one_process(cli, store, tmp_path, rows_of):
    """Two tasks of a local cluster."""
    pytest.importorskip("ray")
    line = "attack ce --limit 12 --threat linf:0.1,0.2 --attack pgd:steps=3 -q --out"
    elsewhere = shutil.copytree(store, tmp_path / "elsewhere")
    assert cli(line, elsewhere).code == 0
    done = cli(line, store, "--engine", "ray", "--address", "local", "--jobs", "2")
    assert done.code == 0, done.err
    names = sorted(path.name for path in (elsewhere / "results" / "samples").iterdir())
    for name in names:
        one, two = (rows_of(each / "results" / "samples" / name) for each in (store, elsewhere))
        assert one == two
    assert len(names) == 2
