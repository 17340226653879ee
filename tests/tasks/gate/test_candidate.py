"""A candidate attacked until the gate decides: better, equal, worse, killed, resumed."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robbench.analysis.sequential_gate import SequentialGate
from robbench.data.load import load
from robbench.statistics.sequential import PairedSequentialTest
from robbench.store.find import STOPPED_EARLY
from robbench.store.run import read_run
from robbench.store.store import Store
from robbench.tasks.attack.session import AttackSession
from robbench.tasks.gate.plan import random_order

ATTACK = (
    "attack ce at --attack pgd:steps=4 --attack apgd:steps=6 --threat linf:0.1 --limit 240 "
    "--store-points --out"
)
GATE = "gate --max-drop 3 -b 16 --json"


@pytest.fixture(scope="module")
def based(cli: Callable, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both models attacked with points, and renamed copies of them. Not to be written to."""
    out = shutil.copytree(trained, tmp_path_factory.mktemp("based") / "S")
    done = cli(ATTACK, out)
    assert done.code == 0, done.err
    return out


@pytest.fixture
def out(based: Path, tmp_path: Path) -> Path:
    return shutil.copytree(based, tmp_path / "S")


def gate_rows(out: Path, run_id: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    run = read_run(Store(out).run_path(run_id))
    return run.info, run.samples.to_pylist()


def run_of(out: Path, model: str) -> str:
    return next(
        path.stem
        for path in Store(out).find([model])
        if "gate" not in str(read_run(path).info["config"])
    )


@pytest.mark.parametrize(
    ("baseline", "model", "code", "replayed"),
    [("ce", "at", 0, False), ("at", "at", 0, True), ("at", "ce", 1, True)],
)
def test_better_equal_worse(
    cli: Callable, out: Path, baseline: str, model: str, code: int, replayed: bool
) -> None:
    """Each stops with the right answer before all samples; the stored run says what it is."""
    done = cli(
        GATE, "--these-samples", "--baseline", run_of(out, baseline), "--model", model, "--out", out
    )
    assert done.code == code, done.err
    found = done.json
    assert found["samples"] < found["samples_of"] == 240
    info, rows = gate_rows(out, found["candidate"]["run_id"])
    assert (info["n_samples"], len(rows), info["status"]) == (
        found["samples"],
        found["samples"],
        STOPPED_EARLY,
    )
    assert info["subset"] == f"random={found['samples']},seed=0 of first=240"
    assert json.loads(info["config"])["gate"]["of"] == 240
    assert any(row["broken_by"] == "replay" for row in rows) or not replayed
    assert not list((out / "results" / "partial").glob("*"))
    # A part of the samples is no run to hold against whole ones.
    refused = cli(
        "gate --candidate", info["run_id"], "--baseline", run_of(out, baseline), "--out", out
    )
    assert refused.code == 2
    assert "subset: first=240 and random=" in refused.err


@pytest.mark.slow
def test_a_run_that_ended_early_is_checked_and_measured_on_its_own_samples(
    cli: Callable, out: Path
) -> None:
    done = cli(
        GATE, "--these-samples", "--baseline", run_of(out, "at"), "--model", "ce", "--out", out
    )
    run_id, n = done.json["candidate"]["run_id"], done.json["samples"]
    assert (done.code, n) == (1, read_run(Store(out).run_path(run_id)).samples.num_rows)
    checked = cli(f"check {run_id} --limit 20 --json --out", out)
    assert "has changed" not in checked.err
    assert max(row["n_samples"] for row in checked.json["rows"]) == n
    measured = cli(f"measure {run_id} --train-samples 0 --out", out)
    assert measured.code == 0, measured.err
    assert pq.read_metadata(out / "results" / "sample_measures" / f"{run_id}.parquet").num_rows == n


def test_verdicts_and_decision_are_those_of_a_whole_attack(cli: Callable, out: Path) -> None:
    """Fed with a whole run's rows and the same points, the test stops at the same sample."""
    base = run_of(out, "at")
    done = cli(f"{GATE} --these-samples --baseline {base} --model ce --out", out)
    found = done.json
    whole = cli(
        "attack ce --attack pgd:steps=4 --attack apgd:steps=6 --threat linf:0.1 --limit 240 "
        f"--replay {base} --json --out",
        out,
    ).json["rows"][0]["run_id"]
    theirs = {row["sample_id"]: row for row in gate_rows(out, whole)[1]}
    mine = gate_rows(out, found["candidate"]["run_id"])[1]
    assert [{**theirs[row["sample_id"]], "run_id": 0} for row in mine] == [
        {**row, "run_id": 0} for row in mine
    ]
    split = load("digits", "test", limit=240)
    reference = {row["sample_id"]: row["robust"] for row in gate_rows(out, base)[1]}
    test = PairedSequentialTest(0.03, 240, 0.05)
    ids = [int(split.ids[i]) for i in random_order(split, 0)]
    while test.decision is None:
        test.add(reference[ids[test.seen]], theirs[ids[test.seen]]["robust"])
    (check,) = found["checks"]
    assert (test.seen, test.decision) == (found["samples"], check["decision"])
    assert (check["low"], check["high"]) == test.interval


def test_all_samples_leave_an_ordinary_run(cli: Callable, out: Path) -> None:
    """For images 240 samples decide nothing of an equal model: exit 4, a comparable run."""
    base = run_of(out, "at")
    done = cli(f"gate --max-drop 0.5 --baseline {base} --model at --json --out", out)
    assert done.code == 4
    (check,) = done.json["checks"]
    assert (check["n"], check["lost"], check["won"], check["method"]) == (240, 0, 0, "exact")
    assert check["needed"] > 240
    info, _ = gate_rows(out, done.json["candidate"]["run_id"])
    assert (info["status"], info["subset"], info["n_samples"]) == ("done", "first=240", 240)
    assert (
        cli(f"gate --max-drop 5 --baseline {base} --candidate {info['run_id']} --out", out).code
        == 0
    )


def test_what_is_known_is_not_attacked_again(
    cli: Callable, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same question is answered from the store; a stricter one resumes; --force restarts."""
    asked: list[int] = []
    original = AttackSession.decide

    def spy(session: AttackSession, indices: list[int], stop: Any) -> Any:
        asked.extend(indices)
        return original(session, indices, stop)

    monkeypatch.setattr(AttackSession, "decide", spy)
    words = f"gate -b 16 --json --these-samples --baseline {run_of(out, 'at')} --model at --out"
    first = cli(words, out, "--max-drop", "20")
    before = asked.copy()
    again = cli(words, out, "--max-drop", "20")
    assert asked == before
    assert again.json["checks"] == first.json["checks"]
    kept = {row["sample_index"] for row in gate_rows(out, first.json["candidate"]["run_id"])[1]}
    strict = cli(words, out, "--max-drop", "5")
    assert strict.json["samples"] > first.json["samples"] == len(kept)
    known = len(asked)
    assert not kept & set(asked[len(before) :])
    assert (
        gate_rows(out, strict.json["candidate"]["run_id"])[0]["n_samples"] == strict.json["samples"]
    )
    cli(words, out, "--max-drop", "20", "--force")
    assert len(asked) > known


def test_killed_between_two_files(cli: Callable, out: Path) -> None:
    """A shorter run's row beside a longer one's samples: the same command repairs it."""
    words = f"gate -b 16 --json --these-samples --baseline {run_of(out, 'at')} --model at --out"
    first = cli(words, out, "--max-drop", "20").json
    row = Store(out).run_path(first["candidate"]["run_id"])
    old = row.read_bytes()
    strict = cli(words, out, "--max-drop", "10").json
    assert strict["samples"] > first["samples"]
    row.write_bytes(old)
    done = cli(words, out, "--max-drop", "10")
    assert done.code == 0, done.err
    assert done.json["checks"] == strict["checks"]
    assert len(gate_rows(out, row.stem)[1]) == strict["samples"]


def test_another_order_is_another_run(cli: Callable, out: Path) -> None:
    """--seed draws another order, kept apart."""
    words = f"{GATE} --these-samples --baseline {run_of(out, 'at')} --model ce --out"
    one, two = cli(words, out).json, cli(words, out, "--seed", "1").json
    assert one["candidate"]["run_id"] != two["candidate"]["run_id"]


def test_killed_and_continued_decides_the_same(
    cli: Callable, spawn: Callable, killer: str, out: Path, based: Path, tmp_path: Path
) -> None:
    """SIGKILL in the middle, then the same command: the same answer, and it says it resumes."""
    other = shutil.copytree(based, tmp_path / "T")
    words = f"{GATE} --these-samples --baseline {run_of(out, 'at')} --model at --out"
    whole = cli(words, other).json
    killed = spawn("append", "4", *words.split(), out, code=killer)
    assert killed.code == -signal.SIGKILL
    kept = [
        row
        for path in (out / "results" / "partial").rglob("*.parquet")
        for row in pq.read_table(path).to_pylist()
    ]
    assert 0 < len(kept) < 240
    done = cli(words, out)
    assert f"{len(kept)} samples are decided already" in done.err
    assert done.json["checks"] == whole["checks"]
    assert (
        gate_rows(out, done.json["candidate"]["run_id"])[1]
        == gate_rows(other, whole["candidate"]["run_id"])[1]
    )


def test_a_signal_and_a_limit_of_time_keep_what_was_decided(
    cli: Callable, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM ends with 143 and advice; a time limit with 4; no run, but samples are kept."""
    words = f"{GATE} --these-samples --baseline {run_of(out, 'at')} --model at --out"
    add, count = SequentialGate.add, []

    def signalled(self: Any, *pair: Any) -> None:
        add(self, *pair)
        count.append(1)
        if len(count) == 20:
            os.kill(os.getpid(), signal.SIGTERM)

    runs = sorted(path.name for path in (out / "results" / "runs").iterdir())
    monkeypatch.setattr(SequentialGate, "add", signalled)
    stopped = cli(words, out)
    monkeypatch.undo()
    assert (stopped.code, stopped.out) == (143, "")
    assert "robbench gate" in stopped.err
    late = cli(words, out, "--max-time", "0.000001s")
    assert late.code == 4
    assert late.json["samples"] >= 20
    assert "the same command goes on" in " ".join(late.json["notes"])
    assert sorted(path.name for path in (out / "results" / "runs").iterdir()) == runs
    assert cli(words, out).code == 0


def test_a_baseline_whose_row_claims_more_than_its_samples(cli: Callable, out: Path) -> None:
    """It is judged by its samples, and said."""
    path = Store(out).run_path(run_of(out, "ce"))
    table = pq.read_table(path)
    at = table.schema.get_field_index("robust_accuracy")
    pq.write_table(table.set_column(at, table.schema.field(at), pa.array([0.99])), path)
    done = cli(GATE, "--these-samples", "--baseline", path.stem, "--model", "at", "--out", out)
    assert done.code == 0, done.err
    assert any("claims robust accuracy 99.0%" in note for note in done.json["notes"])
    assert done.json["checks"][0]["baseline"] < 0.9
