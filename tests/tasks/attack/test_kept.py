"""A security curve that grows: finished budgets stay, the others are as of one curve at once."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from robbench.core.part import Part
from robbench.core.spec import validate
from robbench.store.run import Run, read_points
from robbench.store.store import Store
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.attack.job import AttackJob
from robbench.tasks.attack.merge import merge
from robbench.tasks.attack.plan import AttackPlan, plan_attacks
from robbench.tasks.attack.run import attack
from robbench.tasks.attack.session import AttackSession
from robbench.tasks.listener import Bar, Listener
from robbench.tasks.signals import StopFlag

from .listeners import Noting, Stopping

SIZE = 24
CURVE = "linf:0.02,0.05,0.1"
MODEL = [""]


@pytest.fixture(autouse=True)
def _model(trained, monkeypatch):
    """A model that is right about most samples."""
    monkeypatch.setattr(f"{__name__}.MODEL", [str(trained / "models" / "ce")])


def plan(out: Path, threat: str = CURVE, **settings: object) -> AttackPlan:
    usual = {"data": "digits", "limit": SIZE, "attack": ["pgd:steps=10"], "batch_size": 4}
    config = validate(AttackConfig, {**usual, "threat": [threat], **settings}, "attack")
    (found,) = plan_attacks(MODEL, config, out=out, device="cpu")
    return found


def attacked(
    out: Path, threat: str = CURVE, *, force: bool = False, **settings: object
) -> tuple[list[Run], list[str]]:
    """The runs of a command, and what it said."""
    listener = Noting()
    found = attack([plan(out, threat, **settings)], Store(out), force=force, listener=listener)
    return [one.run for one in found], listener.said


def part(out: Path, text: str, threat: str = CURVE, **settings: object) -> None:
    """One part, which does not join."""
    number, count = map(int, text.split("/"))
    found = dataclasses.replace(plan(out, threat, **settings), part=Part(number, count))
    AttackJob(found, Store(out), Listener(), Bar(), StopFlag(), None).run_part()


def rows(out: Path, runs: list[Run]) -> list[tuple[list[dict], list[dict]]]:
    """The sample rows and the points of runs."""
    store, found = Store(out), []
    for run in runs:
        path = store.run_path(run.info["run_id"])
        stored = (out / "results" / "points" / path.name).exists()
        points = sorted(read_points(path), key=lambda row: row["sample_id"]) if stored else []
        found.append((run.samples.to_pylist(), points))
    return found


def files_of(out: Path, run: Run) -> dict[Path, tuple[int, bytes]]:
    """The files of a run, with when they were written."""
    found = (out / "results").glob(f"*/{run.info['run_id']}*")
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in found if path.is_file()}


def left(out: Path) -> list[Path]:
    return list((out / "results" / "partial").iterdir())


def is_read(said: list[str]) -> bool:
    return any(text.endswith("nothing to do (--force runs it again)") for text in said)


SETTINGS: list[dict[str, object]] = [
    {"attack": ["pgd:steps=10", "apgd:steps=5"]},
    {"store_points": True},
    {"max_queries": 16, "attack": ["apgd:steps=5", "square:steps=10"]},
    {"precision": "bf16"},
    {"target": "least-likely"},
    {"audit": 6, "audit_attack": ["apgd:steps=30"], "store_points": True, "attack": ["fgsm"]},
    {"audit": 3, "audit_attack": ["square:steps=40"], "adaptive": True, "attack": ["fgsm"]},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_curve_that_grows_is_that_of_one_command(tmp_path, settings):
    """Rows and points of every budget; the files of those that were there are not touched."""
    whole, _ = attacked(tmp_path / "whole", **settings)
    out = tmp_path / "out"
    (first,), _ = attacked(out, "linf:0.02", **settings)
    before = files_of(out, first)
    assert any(path.parent.name == "checks" for path in before)
    two, said = attacked(out, "linf:0.02,0.05", **settings)
    stays = "was in the store already; it stays as it is (--force runs it again)"
    assert [text for text in said if "already;" in text] == [
        f"run {first.info['run_id']} ({first.info['model']} {first.info['threat']}) {stays}"
    ]
    before |= files_of(out, two[1])
    grown, said = attacked(out, **settings)
    assert sum(stays in text for text in said) == 2
    assert rows(out, grown) == rows(tmp_path / "whole", whole)
    assert (
        before.items()
        <= {
            **files_of(out, grown[0]),
            **files_of(out, grown[1]),
        }.items()
    )
    assert left(out) == []
    assert is_read(attacked(out, **settings)[1])


def test_what_breaks_a_sample_at_a_finished_budget_is_not_attacked_again(tmp_path, monkeypatch):
    """Only the other samples are."""
    (first,), _ = attacked(tmp_path, "linf:0.02")
    asked: list[int] = []
    decide = AttackSession.decide

    def noting(self, indices, stop):
        asked.extend(indices)
        return decide(self, indices, stop)

    monkeypatch.setattr(AttackSession, "decide", noting)
    attacked(tmp_path)
    found = first.samples.to_pylist()
    assert asked == [row["sample_index"] for row in found if not row["adversarial"]]
    assert 0 < len(asked) < SIZE


def test_the_other_order_makes_nothing_again(tmp_path):
    """A budget of a curve that is there: its run is read, and so are those of a shorter curve."""
    whole, _ = attacked(tmp_path)
    before = files_of(tmp_path, whole[0]) | files_of(tmp_path, whole[1])
    for threat in ("linf:0.02", "linf:0.02,0.05"):
        runs, said = attacked(tmp_path, threat)
        assert is_read(said)
        assert [run.info["run_id"] for run in runs] == [
            run.info["run_id"] for run in whole[: len(runs)]
        ]
    assert files_of(tmp_path, whole[0]) | files_of(tmp_path, whole[1]) == before


def test_force_makes_every_budget_again(tmp_path):
    """Of a curve that grows, too; nothing is said to stay."""
    (first,), _ = attacked(tmp_path, "linf:0.02")
    grown, said = attacked(tmp_path, force=True)
    assert not any("already" in text for text in said)
    assert grown[0].info["started_at"] > first.info["started_at"]
    assert grown[0].samples == first.samples


@pytest.mark.parametrize("points", [False, True])
def test_stopped_it_goes_on(tmp_path, points):
    """Samples decided before the stop count; then the same rows, and the old run as it was."""
    whole, _ = attacked(tmp_path / "whole", store_points=points)
    out = tmp_path / "out"
    (first,), _ = attacked(out, "linf:0.02", store_points=points)
    before, stop = files_of(out, first), StopFlag()
    job = AttackJob(
        plan(out, store_points=points), Store(out), Noting(), Stopping(stop, after=16), stop, None
    )
    assert job.run(force=False).runs == []
    assert is_read(attacked(out, "linf:0.02", store_points=points)[1])
    grown, said = attacked(out, store_points=points)
    assert any(text.startswith("going on with") for text in said)
    assert rows(out, grown) == rows(tmp_path / "whole", whole)
    assert before.items() <= files_of(out, grown[0]).items()
    assert left(out) == []


def test_a_budget_that_is_finished_meanwhile_loses_no_samples(tmp_path):
    """A curve is stopped, its smallest budget made alone: what the curve had decided stays so."""
    whole, _ = attacked(tmp_path / "whole")
    out = tmp_path / "out"
    part(out, "1/2")
    (first,), _ = attacked(out, "linf:0.02")
    before = files_of(out, first)
    grown, said = attacked(out)
    (going,) = [text for text in said if text.startswith("going on with")]
    broken = sum(row["adversarial"] for row in first.samples.to_pylist()[1::2])
    assert f"{SIZE // 2 + broken} of {SIZE} samples are decided already" in going
    assert rows(out, grown) == rows(tmp_path / "whole", whole)
    assert before.items() <= files_of(out, grown[0]).items()


AUDITED: dict[str, object] = {"audit": 6, "audit_attack": ["apgd:steps=30"], "attack": ["fgsm"]}


@pytest.mark.parametrize("settings", [{"store_points": True}, AUDITED], ids=str)
def test_parts_give_the_same(tmp_path, settings):
    """In any order, joined by the last or merged without the model; the finished run stays."""
    whole, _ = attacked(tmp_path / "whole", **settings)
    out = tmp_path / "out"
    (first,), _ = attacked(out, "linf:0.02", **settings)
    before = files_of(out, first)
    for text in ("2/3", "3/3", "1/3"):
        part(out, text, **settings)
    if "audit" not in settings:
        (merged,) = merge(Store(shutil.copytree(out, tmp_path / "copy")), say=lambda text: None)
        assert (merged.merged, merged.missing) == (True, 0)
        assert left(tmp_path / "copy") == []
        of_copy, said = attacked(tmp_path / "copy", **settings)
        assert is_read(said)
        assert rows(tmp_path / "copy", of_copy) == rows(tmp_path / "whole", whole)
    grown, _ = attacked(out, **settings)
    assert rows(out, grown) == rows(tmp_path / "whole", whole)
    assert before.items() <= files_of(out, grown[0]).items()


def test_workers_leave_a_finished_budget_as_it_is(tmp_path):
    """Processes of --jobs too."""
    from robbench.tasks.attack.parts import Workers

    whole, _ = attacked(tmp_path / "whole")
    out = tmp_path / "out"
    (first,), _ = attacked(out, "linf:0.02")
    before = files_of(out, first)
    found = attack([plan(out)], Store(out), workers=Workers(jobs=2, device="cpu"))
    assert rows(out, [one.run for one in found]) == rows(tmp_path / "whole", whole)
    assert before.items() <= files_of(out, first).items()


def test_a_finished_budget_that_has_lost_its_points_is_made_again(tmp_path):
    """As alone: it is not whole."""
    (first,), _ = attacked(tmp_path, "linf:0.02", store_points=True)
    before = rows(tmp_path, [first])
    Store(tmp_path).run_path(first.info["run_id"]).parents[1].joinpath(
        "points", f"{first.info['run_id']}.parquet"
    ).unlink()
    grown, _ = attacked(tmp_path, store_points=True)
    assert rows(tmp_path, grown[:1]) == before


def test_what_rests_on_a_finished_budget_stays(cli, store, snapshot):
    """Its measures, checks, tag and baseline; the name of the larger budget is its own."""
    words = f"attack ce --attack fgsm --limit 30 --out {store}"
    done = cli(words, "--threat", "linf:0.1", "--tag", "a=b", "--json")
    run = done.json["rows"][0]["run_id"]
    assert cli("measure", run, "--out", store).code == 0
    assert cli("check", run, "--out", store).code == 0
    assert cli("baseline", "set", run, "--out", store).code == 0
    before = {name: file for name, file in snapshot(store).items() if file[1]}
    grown = cli(words, "--threat", "linf:0.1,0.15", "--name", "other", "--json")
    assert grown.code == 0, grown.err
    assert (
        f"run {run} (other linf:0.1) was in the store already as ce; it stays as it is" in grown.err
    )
    assert [row["model"] for row in grown.json["rows"]] == ["ce", "other"]
    assert before.items() <= snapshot(store).items()
    assert cli("gate", "--candidate", run, "--max-drop", "20", "--out", store).code == 0
