"""Points on disk: small, read back as judged, and whole after any kill."""

from __future__ import annotations

import dataclasses
import shlex
import shutil
import signal
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from robbench.core.errors import UserError
from robbench.core.freeze import frozen
from robbench.core.tiles import Tiles
from robbench.data.load import load
from robbench.engine.records import Verdict
from robbench.engine.verify import verify
from robbench.store.run import read_points
from robbench.store.store import Store
from robbench.tasks.attack import shard_writer
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.attack.plan import plan_attacks
from robbench.tasks.attack.points import decode, encode, points_to_replay
from robbench.threat.model import parse_threat
from robbench.threat.problem import Problem

WORDS = shlex.split(
    "attack at --attack pgd:steps=4 --attack apgd:steps=15 --threat linf:0.1,0.15 --limit 80 "
    "--batch-size 16 --store-points"
)


# -- encoding


class Sum(nn.Module):
    """Class 1 where the sum of all pixels is above a line (or below), by however little."""

    def __init__(self, line, sign=1):
        super().__init__()
        self.line, self.sign = line, sign

    def forward(self, x):
        z = self.sign * (x.flatten(1).sum(1) - self.line)
        return torch.stack([-z, z], 1)


@pytest.fixture(scope="module")
def split():
    """Sixteen digits, all of class 0 of two."""
    digits = load("digits", "test", limit=16)
    return dataclasses.replace(
        digits, labels=torch.zeros(16, dtype=torch.int64), classes=("a", "b")
    )


def judged(model, x, split, threat):
    """What the model says at points of the whole split."""
    index = torch.arange(len(split))
    p = Problem(
        x0=split.pixels(index),
        y=split.labels,
        target=index * 0 - 1,
        eps=torch.full((len(split),), threat.eps),
        key=index,
        index=index,
        logits0=torch.zeros(len(split), 2),
        norm=threat.norm,
    )
    return verify(model, x, p, Tiles(32, 8)).rows()


def verdicts(model, x, split, threat, **told):
    """What a run says of points of the whole split."""
    pairs = zip(
        judged(model, split.pixels(slice(None)), split, threat),
        judged(model, x, split, threat),
        strict=True,
    )
    nothing = dict.fromkeys(Verdict._fields, 0)
    return [
        Verdict(**nothing)
        ._replace(
            sample=i,
            clean_margin=clean.margin,
            adv_pred=j.pred,
            adv_margin=j.margin,
            adversarial=j.adversarial,
            target=-1,
        )
        ._replace(**told)
        for i, (clean, j) in enumerate(pairs)
    ]


def moved(split, threat, seed=0):
    """Random points, each on the surface of its ball and in the box."""
    x0 = split.pixels(slice(None))
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(seed))
    d = (
        threat.norm.steepest(noise)
        if threat.norm_name != "l1"
        else noise / noise.abs().flatten(1).sum(1).reshape(-1, 1, 1, 1)
    )
    return threat.norm.project_boxed(x0 + threat.eps * d, x0, torch.full((len(split),), threat.eps))


@pytest.mark.parametrize(
    "text", ["linf:0.15", "linf:8/255", "linf:1", "l2:0.5", "l2:inf", "l1:3", "linf:0.0001"]
)
def test_what_is_read_back_is_inside_box_and_budget(text, split):
    """In half precision, never larger than it was, and as near as half precision comes."""
    (threat,) = parse_threat(text)
    x = moved(split, parse_threat("l2:1.5")[0] if text == "l2:inf" else threat)
    model = Sum(-1e9)  # everything is class 1: the verdict does not depend on rounding
    said = verdicts(model, x, split, threat)
    rows = encode(list(x), said, split, threat, model, Tiles(32, 8))
    back = torch.stack(
        [decode(row, x0) for row, x0 in zip(rows, split.pixels(slice(None)), strict=True)]
    )
    assert {row["encoding"] for row in rows} == {"f2"}
    assert {len(row["delta"]) for row in rows} == {2 * 64}
    assert back.dtype == torch.float32
    assert all(j.fits for j in judged(model, back, split, threat))
    x0 = split.pixels(slice(None))
    assert bool(((back - x0).abs() <= (x - x0).abs() + 6e-8).all())
    assert float((back - x).abs().max()) < 2**-10
    assert [row["sample_id"] for row in rows] == split.ids.tolist()


@pytest.mark.parametrize("found", [True, False])
def test_a_point_that_half_precision_would_change_is_kept_in_full(found, split):
    """Where rounding moves a point over the boundary it is stored in float32, exactly."""
    (threat,) = parse_threat("linf:0.15")
    x = moved(split, threat)
    sums = x.double().flatten(1).sum(1)
    kinds = set()
    for i in range(16):
        for gap in (1e-5, 1e-3, 0.3):
            model = Sum(
                float(sums[i]) - gap, sign=1 if found else -1
            )  # rounding makes the sum smaller
            one = split.take(torch.tensor([i]))
            said = verdicts(model, x[i : i + 1], one, threat, adversarial=found)
            (row,) = encode([x[i]], said, one, threat, model, Tiles(32, 8))
            back = decode(row, one.pixels(slice(0, 1))[0])
            (j,) = judged(model, back[None], one, threat)
            assert (j.adversarial, j.fits) == (found, True)
            assert row["adversarial"] == found
            kinds.add((row["encoding"], gap))
            if row["encoding"] == "f4":
                assert float((back - x[i]).abs().max()) <= 6e-8
    assert {kind for kind, _ in kinds} == {"f2", "f4"}
    assert ("f2", 0.3) in kinds


@pytest.mark.parametrize("other", [{"adv_pred": 0}, {"adv_margin": -0.4}])
def test_a_point_that_is_judged_otherwise_in_half_precision_is_kept_in_full(other, split):
    """Another class, or a margin that is off by more than half of a percent of the margins."""
    (threat,) = parse_threat("linf:0.15")
    x = moved(split, threat)
    model = Sum(float(x[0].sum()) - 0.5)
    (same, told) = (verdicts(model, x, split, threat, **more)[:1] for more in ({}, other))
    (small,), (full,) = (
        encode([x[0]], said, split, threat, model, Tiles(32, 8)) for said in (same, told)
    )
    assert (small["encoding"], full["encoding"]) == ("f2", "f4")


def test_no_points_no_rows(split):
    """Nothing is written for nothing."""
    assert encode([], [], split, parse_threat("linf:0.1")[0], Sum(0), Tiles(32, 8)) == []


def test_points_are_little_endian_and_in_c_order(split):
    """Another reader needs no more than the schema says."""
    (threat,) = parse_threat("linf:0.5")
    x0 = split.pixels(slice(0, 1))[0]
    x = x0.clone()
    x[0, 1, 2] = x0[0, 1, 2] + 0.25 if x0[0, 1, 2] < 0.5 else x0[0, 1, 2] - 0.25
    model = Sum(-1e9)
    said = verdicts(model, x[None].expand(16, -1, -1, -1), split, threat)[:1]
    (row,) = encode([x], said, split, threat, model, Tiles(32, 8))
    delta = np.frombuffer(row["delta"], "<f2").reshape(1, 8, 8)
    assert np.argwhere(delta).tolist() == [[0, 1, 2]]
    assert delta[0, 1, 2] == float((x - x0)[0, 1, 2])


def test_a_point_of_another_shape(split):
    """Is a user's error that names the run, not a wrong picture."""
    row = {"run_id": "abc", "encoding": "f2", "delta": np.zeros(65, "<f2").tobytes()}
    with pytest.raises(UserError, match=r"abc.*65 pixels.*64"):
        decode(row, split.pixels(slice(0, 1))[0])


# -- files


@pytest.fixture(scope="module")
def reference(cli, trained, tmp_path_factory):
    """The results folder and the run ids of `WORDS`, uninterrupted."""
    out = shutil.copytree(trained, tmp_path_factory.mktemp("points") / "S")
    done = cli(*WORDS, "--json", "--out", out)
    assert done.code == 0, done.err
    return out, [row["run_id"] for row in done.json["rows"]]


def points_of(out, run):
    """The points of a run, sorted by sample; each sample once."""
    rows = pq.read_table(out / "results" / "points" / f"{run}.parquet").to_pylist()
    assert len({row["sample_id"] for row in rows}) == len(rows)
    return sorted(rows, key=lambda row: row["sample_id"])


def subject(out):
    """The attacked model and its samples."""
    config = AttackConfig(threat=("linf:0.15",), limit=80)
    (plan,) = plan_attacks(["at"], config, out=out, device="cpu", data_dir=None, download=False)
    return plan.subject


def test_every_stored_point_is_what_its_row_says(reference, rows_of):
    """Read by anyone, in float32: adversarial as the row says, in budget and box."""
    out, ids = reference
    model, split = subject(out).model, subject(out).split
    place = {key: i for i, key in enumerate(split.ids.tolist())}
    encodings = set()
    for run, eps in zip(ids, (0.1, 0.15), strict=True):
        samples = {
            row["sample_id"]: row for row in rows_of(out / "results" / "samples" / f"{run}.parquet")
        }
        points = points_of(out, run)
        for row in points:
            i = place[row["sample_id"]]
            x0, sample = split.pixels(slice(i, i + 1)), samples[row["sample_id"]]
            delta = np.frombuffer(row["delta"], {"f2": "<f2", "f4": "<f4"}[row["encoding"]]).astype(
                np.float32
            )
            x = (x0 + torch.from_numpy(delta).reshape(x0.shape)).clamp(0, 1)
            with frozen(model), torch.no_grad():
                wrong = int(model(x).argmax()) != sample["label"]
            assert wrong == row["adversarial"] == sample["adversarial"]
            assert float((x - x0).abs().max()) <= eps * (1 + 1e-5) + 1e-7
            assert (row["run_id"], sample["clean_correct"]) == (run, True)
            encodings.add(row["encoding"])
        adversarial = {
            key for key, row in samples.items() if row["adversarial"] and row["clean_correct"]
        }
        assert adversarial <= {row["sample_id"] for row in points}
        assert len(adversarial) > 10
    assert "f2" in encodings


def test_most_points_are_written_small(reference):
    """Half precision is the rule."""
    out, ids = reference
    rows = points_of(out, ids[0])
    assert sum(row["encoding"] == "f2" for row in rows) > 0.9 * len(rows)


def test_points_are_kept_only_when_asked_for(cli, store):
    """Without --store-points there is no file, and the run is another one."""
    words = ["--attack", "fgsm", "--limit", 20, "--json", "--out", store]
    plain, stored = (
        cli("attack", "ce", *words, *flag).json["rows"][0] for flag in ([], ["--store-points"])
    )
    assert [path.stem for path in (store / "results" / "points").iterdir()] == [stored["run_id"]]
    assert plain["run_id"] != stored["run_id"]
    assert plain["robust_accuracy"] == stored["robust_accuracy"]


@pytest.fixture
def same(reference, rows_of):
    """A folder holds what the uninterrupted run left: rows and points of both budgets."""

    def check(out):
        theirs, ids = reference
        for run in ids:
            samples = f"results/samples/{run}.parquet"
            (row,) = rows_of(theirs / f"results/runs/{run}.parquet")
            if not row["deterministic"]:
                pytest.skip(
                    "no numbers of rows give equal answers on this processor, and the run says so"
                )
            assert rows_of(out / samples) == rows_of(theirs / samples)
            assert points_of(out, run) == points_of(theirs, run)
        assert not list((out / "results" / "partial").glob("*"))

    return check


# Two budgets: the calls alternate between them, so an odd number of them leaves the budgets' shards
# unequal.
@pytest.mark.parametrize(
    ("name", "number", "flush"),
    [
        ("append_points", 3, 0),
        pytest.param("append", 3, 1000, marks=pytest.mark.slow),
        pytest.param("append_points", 4, 1000, marks=pytest.mark.slow),
    ],
)
def test_killed_and_continued_keeps_the_same_points(
    spawn, killer, cli, store, same, monkeypatch, name, number, flush
):
    """SIGKILL between any two writes; then the same command leaves the same rows and points."""
    killed = spawn(name, str(number), *WORDS, "--out", store, code=killer)
    assert killed.code == -signal.SIGKILL, killed.err
    assert list((store / "results" / "partial").glob("*/points/*.parquet"))
    monkeypatch.setattr(shard_writer, "FLUSH_SECONDS", flush)
    done = cli(*WORDS, "--out", store)
    assert done.code == 0, done.err
    same(store)


class Crash(BaseException):
    """Stands for the power that goes."""


@pytest.mark.parametrize(
    "number", [1, 3, 8, *(pytest.param(number, marks=pytest.mark.slow) for number in (0, 2, 5))]
)
def test_a_crash_at_any_write_loses_no_point(cli, store, same, monkeypatch, number):
    """Whichever file is the one that is not put in its place any more."""
    monkeypatch.setattr(shard_writer, "FLUSH_SECONDS", 0)
    replace, calls = Path.replace, []

    def guarded(self, target):
        calls.append(target)
        if len(calls) - 1 == number:
            raise Crash
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", guarded)
        with pytest.raises(Crash):
            cli(*WORDS, "--out", store, env={"ROBBENCH_DEBUG": "1"})  # else it is a user's error
    assert cli(*WORDS, "--out", store).code == 0
    same(store)


@pytest.mark.slow
def test_a_smaller_run_goes_on_where_a_larger_was_stopped(
    spawn, killer, cli, store, same, reference, rows_of
):
    """The smallest budget of a stopped run is its own run and resumes; the rest follows."""
    killed = spawn("append", "4", *WORDS, "--out", store, code=killer)
    assert killed.code == -signal.SIGKILL
    alone = ["linf:0.1" if word.startswith("linf") else word for word in WORDS]
    done = cli(*alone, "--json", "--out", store)
    assert done.code == 0, done.err
    assert "going on" in done.err
    theirs, (small, _) = reference
    assert done.json["rows"][0]["run_id"] == small
    assert points_of(store, small) == points_of(theirs, small)
    assert cli(*WORDS, "--out", store).code == 0
    same(store)


# -- which point is tried


@pytest.mark.parametrize("turn", [1, -1])
def test_adversarial_points_are_preferred(reference, turn):
    """Of several runs an adversarial point is taken, in any order; every sample has one."""
    out, ids = reference
    model, split = subject(out).model, subject(out).split
    paths = [Store(out).run_path(run) for run in ids]
    known = [{row["sample_id"]: row["adversarial"] for row in read_points(path)} for path in paths]
    points = points_to_replay(paths[::turn], split, parse_threat("linf:1")[0])
    assert {int(split.ids[i]) for i in points} == set(known[0]) | set(known[1])
    with frozen(model), torch.no_grad():
        for i, x in points.items():
            wrong = int(model(x[None]).argmax()) != int(split.labels[i])
            assert wrong == any(run.get(int(split.ids[i]), False) for run in known)


def test_other_samples_have_no_points(reference):
    """Points of samples that are not attacked are left alone."""
    out, ids = reference
    split = subject(out).split.take(torch.tensor([3, 5, 7]))
    points = points_to_replay([Store(out).run_path(ids[1])], split, parse_threat("linf:1")[0])
    assert set(points) <= {0, 1, 2}
    far = load("digits", "train", limit=20)
    assert points_to_replay([Store(out).run_path(ids[1])], far, parse_threat("linf:1")[0]) == {}
