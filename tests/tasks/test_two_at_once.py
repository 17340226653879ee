"""Attacks that meet another of the same run, lose points, or die before their checks."""

import shutil

import pyarrow.parquet as pq
import pytest

from robbench.core import lock
from robbench.store.partial import Partial
from robbench.tasks.attack.session import AttackSession

LINE = (
    "attack at --attack pgd:steps=3 --threat linf:0.1,0.2 --limit 64 --batch-size 16 --store-points"
)
WORDS = LINE.split()
HOLDS = """
import sys, time
from pathlib import Path
from robbench.tasks.attack import shard_writer
shard_writer.FLUSH_SECONDS = 0
folder, add = Path(sys.argv.pop(1)), shard_writer.ShardWriter.add
def slow(self, rows, points, now):
    add(self, rows, points, now)
    if rows and not (folder / "held").exists():
        (folder / "held").touch()
        while not (folder / "go").exists():
            time.sleep(0.01)
shard_writer.ShardWriter.add = slow
from robbench.cli.app import main
main()
"""
DIES = """
import os, signal, sys
from robbench.store.store import Store
def deadly(self, subject, rows):
    os.kill(os.getpid(), signal.SIGKILL)
Store.write_checks = deadly
from robbench.cli.app import main
main()
"""


@pytest.fixture(scope="module")
def reference(cli, trained, tmp_path_factory):
    """What an undisturbed attack leaves, and its run ids."""
    out = shutil.copytree(trained, tmp_path_factory.mktemp("reference") / "S")
    done = cli(*WORDS, "--json", "--out", out)
    assert done.code == 0, done.err
    return out, [row["run_id"] for row in done.json["rows"]]


@pytest.fixture
def same(reference, rows_of):
    """A folder holds the same rows, points and checks of both budgets, nothing unfinished."""
    theirs, ids = reference

    def points(out, run):
        return sorted(
            rows_of(out / f"results/points/{run}.parquet"), key=lambda row: row["sample_id"]
        )

    def check(out):
        for run in ids:
            for path in (f"results/samples/{run}.parquet", f"results/checks/{run}.parquet"):
                assert rows_of(out / path, "checked_at") == rows_of(theirs / path, "checked_at")
            assert points(out, run) == points(theirs, run)
            assert len(points(out, run)) > 40
        assert not list((out / "results" / "partial").glob("*"))
        assert not list((out / "results" / "locks").glob("*"))
        assert not list(out.rglob("*.tmp"))

    return check


@pytest.fixture
def hold(hold_code, store):
    """Starts an attack that has kept its first samples, and goes on when there is a file `go`."""
    return lambda *words: hold_code(HOLDS, *words, "--out", store)


def test_the_same_attack_twice_at_once(hold, cli, store, tmp_path, same, monkeypatch):
    """The second waits, says for whom, and finds all done."""
    first = hold(*WORDS)
    monkeypatch.setattr(lock.time, "sleep", lambda seconds: (tmp_path / "go").touch())
    second = cli(*WORDS, "--out", store)
    assert first.wait(60) == 0
    assert second.code == 0, second.err
    assert f"process {first.pid} on " in second.err
    assert "nothing to do" in second.err
    same(store)


@pytest.mark.slow
def test_attacks_with_a_run_in_common(hold, cli, store, tmp_path, same, monkeypatch):
    """One's smaller budget is the other's only one: it waits, and takes over the run."""
    first = hold(*WORDS)
    monkeypatch.setattr(lock.time, "sleep", lambda seconds: (tmp_path / "go").touch())
    second = cli(*[word.replace("0.1,0.2", "0.1") for word in WORDS], "--out", store)
    assert first.wait(60) == 0
    assert second.code == 0, second.err
    assert "nothing to do" in second.err
    same(store)


def test_the_owner_dies_and_who_waits_goes_on(hold, cli, store, same, monkeypatch):
    """With what was kept."""
    first = hold(*WORDS)

    def kill(seconds):
        first.kill()
        first.wait()

    monkeypatch.setattr(lock.time, "sleep", kill)
    second = cli(*WORDS, "--out", store)
    assert second.code == 0, second.err
    assert "going on with" in second.err
    same(store)


def points_file(out, run):
    return out / "results" / "points" / f"{run}.parquet"


@pytest.mark.parametrize(
    ("damage", "which"),
    [
        ("missing", 0),
        ("some", 1),
        ("truncated", 0),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [("missing", 1), ("some", 0), ("truncated", 1), ("empty", 0), ("empty", 1)]
        ),
    ],
)
def test_a_finished_run_without_all_its_points_is_completed(
    cli, reference, tmp_path, same, monkeypatch, damage, which
):
    """What has its point is not attacked again, and the third call has nothing to do."""
    theirs, ids = reference
    out = shutil.copytree(theirs, tmp_path / "S")
    path = points_file(out, ids[which])
    if damage == "missing":
        path.unlink()
    elif damage == "some":
        table = pq.read_table(path)
        pq.write_table(table.slice(0, len(table) - 5), path)
    else:
        path.write_bytes(path.read_bytes()[:-100] if damage == "truncated" else b"")
    attacked, decide = [], AttackSession.decide

    def spied(self, indices, stop):
        attacked.extend(indices)
        return decide(self, indices, stop)

    monkeypatch.setattr(AttackSession, "decide", spied)
    second = cli(*WORDS, "--out", out)
    assert second.code == 0, second.err
    assert len(attacked) == 5 if damage == "some" else 40 < len(attacked) < 64
    same(out)
    assert "nothing to do" in cli(*WORDS, "--out", out).err


def test_a_damaged_shard_of_points_takes_its_samples_with_it(spawn, killer, cli, store, same):
    """A row counts only together with its point."""
    assert spawn("append", "4", *WORDS, "--out", store, code=killer).code == -9
    shards = sorted((store / "results" / "partial").glob("*/points/*.parquet"))
    assert len(shards) > 1
    for shard in shards[::2]:
        shard.write_bytes(shard.read_bytes()[:-50])
    done = cli(*WORDS, "--out", store)
    assert done.code == 0, done.err
    same(store)


def test_checks_that_a_killed_attack_left_out_are_made_up(spawn, cli, store, same, monkeypatch):
    """Without attacking again."""
    assert spawn(*WORDS, "--out", store, code=DIES).code == -9
    assert not (store / "results" / "checks").exists()
    monkeypatch.setattr(AttackSession, "decide", None)
    done = cli(*WORDS, "--out", store)
    assert done.code == 0, done.err
    same(store)


@pytest.mark.slow
def test_checks_of_what_was_replaced_are_gone(spawn, cli, reference, tmp_path, same):
    """Those of the run before it must not be taken for the new run's."""
    out = shutil.copytree(reference[0], tmp_path / "S")
    assert spawn(*WORDS, "--force", "--out", out, code=DIES).code == -9
    assert not list((out / "results" / "checks").glob("*.parquet"))
    assert cli(*WORDS, "--out", out).code == 0
    same(out)


def test_shards_that_were_not_dropped_any_more(cli, reference, store, tmp_path, same, monkeypatch):
    """Killed before the second budget's shards were dropped: nothing is attacked again."""

    class Crash(BaseException):
        pass

    discard, calls = Partial.discard, []

    def second(self):
        calls.append(1)
        if len(calls) == 2:
            raise Crash
        discard(self)

    monkeypatch.setattr(Partial, "discard", second)
    with pytest.raises(Crash):
        cli(*WORDS, "--out", store, env={"ROBBENCH_DEBUG": "1"})  # else it is a user's error
    monkeypatch.undo()
    assert len(list((store / "results" / "partial").glob("*"))) == 1
    monkeypatch.setattr(AttackSession, "decide", None)
    done = cli(*WORDS, "--out", store)
    assert done.code == 0, done.err
    same(store)
