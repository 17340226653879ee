"""Runs written from what parts left, without the model: equal to those of one process."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from robbench.core.errors import UserError
from robbench.core.part import Part
from robbench.core.spec import validate
from robbench.store.run import Run, read_points, read_run
from robbench.store.store import Store
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.attack.facts import flag_facts, read_flag_facts
from robbench.tasks.attack.job import AttackJob
from robbench.tasks.attack.merge import merge
from robbench.tasks.attack.plan import AttackPlan, plan_attacks
from robbench.tasks.attack.session import AttackSession
from robbench.tasks.listener import Bar, Listener
from robbench.tasks.signals import StopFlag

MODEL = "mlp:width=8,depth=1"


def plan(out: Path, **settings: object) -> AttackPlan:
    usual = {"data": "digits", "limit": 12, "threat": ["linf:0.01,0.1"], "attack": ["pgd:steps=5"]}
    config = validate(AttackConfig, {**usual, **settings}, "attack")
    (found,) = plan_attacks([MODEL], config, out=out, device="cpu")
    return found


def job(found: AttackPlan, out: Path) -> AttackJob:
    return AttackJob(found, Store(out), Listener(), Bar(), StopFlag(), None)


def decide(out: Path, *parts: str, **settings: object) -> tuple[str, ...]:
    """What processes leave that are killed before they join; the ids of the runs."""
    for text in parts:
        number, count = map(int, text.split("/"))
        found = dataclasses.replace(plan(out, **settings), part=Part(number, count))
        job(found, out).run_part()
    return found.run_ids


def nothing(text: str) -> None:
    pass


def all_of(out: Path, run: Run) -> tuple:
    """A run's rows, points and facts, but for times and what no process of several knows."""
    of_process = {"started_at", "finished_at", "wall_s", "n_disagreements", "provenance"}
    path = Store(out).run_path(run.info["run_id"])
    stored = (out / "results" / "points" / path.name).exists()
    points = sorted(read_points(path), key=lambda row: row["sample_id"]) if stored else []
    facts = {name: value for name, value in run.info.items() if name not in of_process}
    return run.samples.to_pylist(), points, facts


@pytest.mark.parametrize(
    "settings",
    [
        {"store_points": True},
        {"threat": ["l2:inf"], "attack": ["fmn:steps=10"], "store_points": True},
        {"target": "least-likely", "max_queries": 3, "tag": ["a=b"], "name": "called"},
    ],
    ids=str,
)
def test_a_merged_run_is_that_of_one_process(tmp_path, settings):
    """Rows, points, flags and every column of the run's row."""
    whole = job(plan(tmp_path / "whole", **settings), tmp_path / "whole").run(force=False).runs
    out = tmp_path / "out"
    ids = decide(out, "2/3", "1/3", "3/3", **settings)
    (found,) = merge(Store(out), say=nothing)
    assert (found.merged, found.missing, found.run_ids) == (True, 0, list(ids))
    runs = [read_run(Store(out).run_path(run_id)) for run_id in ids]
    assert [all_of(out, run) for run in runs] == [all_of(tmp_path / "whole", run) for run in whole]
    assert json.loads(runs[0].info["provenance"])["resumed_samples"] == 12
    assert not list((out / "results" / "partial").iterdir())
    assert merge(Store(out), say=nothing) == []
    again = job(plan(out, **settings), out).run(force=False)
    assert again.fresh is False


def test_what_is_missing_is_said_with_the_command_that_does_it(cli, tmp_path):
    """Nothing is written; the command is the recorded one, without its part."""
    words = ["attack", MODEL, "--data", "digits", "--limit", "12", "--attack", "fgsm"]
    first = cli(*words, "--threat", "linf:0.1", "--shard", "1/3", "--out", tmp_path / "S")
    assert first.code == 0, first.err
    (run,) = (tmp_path / "S" / "results" / "partial").iterdir()
    done = cli("merge", "--out", tmp_path / "S")
    assert done.code == 3
    assert done.out == f"{run.name}  {MODEL} linf:0.1: 8 of 12 samples are missing\n"
    line = " ".join([*words, "--threat linf:0.1 --out", str(tmp_path / "S")])
    assert done.err == f"error: 1 of 1 attacks are not finished; to go on: robbench {line}\n"
    assert not Store(tmp_path / "S").has(run.name)
    for number in ("2/3", "3/3"):
        cli(*words, "--threat", "linf:0.1", "--shard", number, "--out", tmp_path / "S")
    done = cli("merge", "--out", tmp_path / "S", "--json")
    assert (done.code, done.json) == (0, {"schema": "robbench.merge/1", "attacks": []})
    assert "no run is unfinished" in done.err


def test_a_command_that_does_several_runs_is_said_once(cli, tmp_path):
    """As where the model was changed between two parts."""
    (run_id,) = decide(tmp_path, "1/2", threat=["linf:0.1"])
    partial = tmp_path / "results" / "partial"
    other = shutil.copytree(partial / run_id, partial / ("0" * 12)) / "plan.json"
    other.write_text(other.read_text().replace(run_id, "0" * 12))
    done = cli("merge", "--out", tmp_path)
    assert done.code == 3
    assert done.err.startswith("error: 2 of 2 attacks are not finished; to go on: robbench attack")
    assert done.err.count("robbench attack") == 1


def test_an_audit_takes_the_model(tmp_path):
    """It is drawn from what the parts have left: the command that attacks does it."""
    decide(tmp_path, "1/2", "2/2", audit=3, audit_attack=["pgd:steps=50"])
    (found,) = merge(Store(tmp_path), say=nothing)
    assert (found.merged, found.missing, found.audit) == (False, 0, True)
    assert found.command is not None
    assert "--audit 3 --audit-attack pgd:steps=50" in found.command


def test_only_what_is_named_is_merged(tmp_path):
    """By the beginning of an id or a model's name; a name of nothing is said with what there is."""
    one = decide(tmp_path, "1/2", "2/2", attack=["fgsm"])
    two = decide(tmp_path, "1/2", "2/2", name="other")
    with pytest.raises(UserError, match=f"'nobody': .*{one[0]}"):
        merge(Store(tmp_path), ["nobody"], say=nothing)
    (found,) = merge(Store(tmp_path), [one[1][:4]], say=nothing)
    assert (found.run_ids, found.merged) == (list(one), True)
    assert not Store(tmp_path).has(two[0])
    (found,) = merge(Store(tmp_path), ["other"], say=nothing)
    assert (found.run_ids, found.merged) == (list(two), True)


@pytest.mark.parametrize(
    "damage", ["", "{}", "[1]", "null", '{"run_ids": ["x"]}', '{"run_ids": 3, "samples": "a"}']
)
def test_parts_without_a_readable_plan_are_left_alone(tmp_path, damage, snapshot):
    """Whoever attacks goes on with them."""
    ids = decide(tmp_path, "1/2", "2/2")
    for run_id in ids:
        (tmp_path / "results" / "partial" / run_id / "plan.json").write_text(damage)
    before = snapshot(tmp_path)
    assert merge(Store(tmp_path), say=nothing) == []
    assert snapshot(tmp_path) == before


def test_rows_of_other_samples_are_not_merged(tmp_path):
    """As many as there should be, but one is of another label."""
    for run_id in decide(tmp_path, "1/2", "2/2"):
        file = tmp_path / "results" / "partial" / run_id / "plan.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "digest": "0" * 12}))
    (found,) = merge(Store(tmp_path), say=nothing)
    assert (found.merged, found.missing) == (False, 12)


def test_facts_of_flags_come_back_from_json(tmp_path):
    """And say the same of rows."""
    session = AttackSession(plan(tmp_path, limit=8), {})
    session.inspect()
    facts = flag_facts(session.plan, session.inspection.flags, session.equality)
    back = read_flag_facts(json.loads(json.dumps(dataclasses.asdict(facts))))
    assert back == facts
    assert facts.seen
