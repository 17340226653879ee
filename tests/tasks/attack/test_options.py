"""Options of `robbench attack`: no budget, replay, limits, precision, cascades, flags."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import signal

import pyarrow.parquet as pq
import pytest
import torch

from robbench.catalogue.builtins import ATTACKS
from robbench.catalogue.cascades import cascades
from robbench.core.freeze import frozen
from robbench.core.status import OK, UNFINISHED
from robbench.tasks.attack import session
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.attack.plan import plan_attacks
from robbench.tasks.attack.points import points_to_replay


@pytest.fixture
def attack(cli, store):
    """`attack("at --attack fgsm")`: rows of the comparison by threat, from a new folder."""

    def run(line, *words, code=0, **more):
        done = cli("attack", *shlex.split(line), *words, "--json", "--out", store, **more)
        assert done.code == code, done.err
        return done.json["rows"] if code == 0 else done.err

    return run


@pytest.fixture
def samples(store):
    """Sample rows of a run."""
    return lambda run: pq.read_table(store / "results" / "samples" / f"{run}.parquet").to_pylist()


@pytest.fixture
def info(store):
    """The row of the runs table."""

    def read(run):
        (row,) = pq.read_table(store / "results" / "runs" / f"{run}.parquet").to_pylist()
        return row

    return read


def refused(done, *messages):
    """Exit 2, nothing on stdout, one line that says why."""
    assert (done.code, done.out, done.err.count("\n"), done.err[:6]) == (2, "", 1, "error:"), (
        done.err
    )
    for message in messages:
        assert re.search(message, done.err), done.err


# -- several budgets


def test_budgets_of_one_run_and_runs_of_their_own(attack, samples, store, snapshot):
    """The smallest budget's run has the id and rows of a run alone; others' ids say more."""
    curve = attack(
        "at --attack pgd:steps=4 --attack apgd:steps=6 --threat linf:0.15,0.05,0.1 --limit 60"
    )
    assert [row["threat"] for row in curve] == ["linf:0.05", "linf:0.1", "linf:0.15"]
    rates = [row["robust_accuracy"] for row in curve]
    assert rates[0] > rates[1] > rates[2]
    together = [samples(row["run_id"]) for row in curve]
    assert all(
        not low["adversarial"] or high["adversarial"]
        for a, b in itertools.pairwise(together)
        for low, high in zip(a, b, strict=True)
    )
    before = snapshot(store)
    (small,) = attack("at --attack pgd:steps=4 --attack apgd:steps=6 --threat linf:0.05 --limit 60")
    assert small["run_id"] == curve[0]["run_id"]
    assert snapshot(store) == before  # it was there already
    (alone,) = attack("at --attack pgd:steps=4 --attack apgd:steps=6 --threat linf:0.1 --limit 60")
    assert alone["run_id"] != curve[1]["run_id"]
    assert all(
        b["adversarial"]
        for a, b in zip(samples(alone["run_id"]), together[1], strict=True)
        if a["adversarial"]
    )
    (forced,) = attack(
        "at --attack pgd:steps=4 --attack apgd:steps=6 --threat linf:0.05 --limit 60 --force"
    )
    assert samples(forced["run_id"]) == together[0]


def test_a_zero_budget_is_clean_accuracy(attack):
    """A budget of 0 among others gives the point of the curve where it begins."""
    zero, some = attack("at --attack fgsm --threat linf:0,0.1 --limit 50")
    assert (
        zero["robust_accuracy"]
        == zero["clean_accuracy"]
        == some["clean_accuracy"]
        > some["robust_accuracy"]
    )
    assert (zero["n_forward"], zero["n_backward"]) == (50, 0)


# -- no budget


@pytest.mark.parametrize(
    "spec", ["pgd", "apgd:steps=5", "fgsm", "autoattack", "square", "eot:attack=(pgd)"]
)
def test_attacks_that_need_a_budget(cli, store, snapshot, spec):
    """Without one they are refused, in a line that names what works."""
    before = snapshot(store)
    done = cli("attack", "ce", "--attack", spec, "--threat", "l2:inf", "--out", store)
    refused(done, "needs a budget", "fmn", "minimal:attack=")
    assert snapshot(store) == before


def test_what_the_refusal_proposes_works(cli, store):
    """The line's own advice can be followed."""
    done = cli("attack", "ce", "--attack", "pgd:steps=5", "--threat", "l2:inf", "--out", store)
    (proposed,) = re.findall(r"minimal:attack=\(.*\)", done.err)
    again = cli(
        "attack",
        "ce",
        "--attack",
        proposed,
        "--threat",
        "l2:inf",
        "--limit",
        5,
        "--out",
        store,
        "--json",
    )
    assert again.code == 0, again.err
    assert [(row["threat"], row["attack"]) for row in again.json["rows"]] == [("l2:inf", proposed)]


def test_no_budget_among_others(cli, store):
    """It gives every other one too, so it is asked for alone; a second norm beside it is fine."""
    refused(
        cli("attack", "ce", "--attack", "fmn", "--threat", "l2:0.5,inf", "--out", store),
        "run it alone",
    )
    refused(
        cli("attack", "ce", "--attack", "fmn", "--threat", "l2:inf,inf", "--out", store), "twice"
    )
    done = cli(
        "attack ce --attack fmn:steps=5 --threat l2:inf --threat linf:0.1 --limit 9 --json --out",
        store,
    )
    assert [row["threat"] for row in done.json["rows"]] == ["l2:inf", "linf:0.1"]


def test_the_median_distance(cli, store, attack, samples, info):
    """Half of the samples are adversarial within distance_p50; misclassified ones at 0."""
    (row,) = attack(
        "ce --attack fmn:steps=30 --attack deepfool:steps=10 --threat l2:inf --limit 61"
    )
    rows = samples(row["run_id"])
    sizes = sorted(r["dist_l2"] for r in rows)
    assert all(r["adversarial"] for r in rows)
    assert row["distance_p50"] == pytest.approx(sizes[30], rel=1e-6)
    assert row["distance_p50"] == info(row["run_id"])["distance_p50"] > 0.05
    assert [r["dist_l2"] for r in rows if not r["clean_correct"]] == [0] * sum(
        not r["clean_correct"] for r in rows
    )
    table = cli("compare", row["run_id"], "--out", store)
    assert re.search(rf"half of the samples fall within l2\s+{row['distance_p50']:.4g}", table.out)


def test_no_robust_accuracy_without_a_budget(cli, store, attack, info, tmp_path):
    """Null or `-`, never 0 %, in every output; nothing is compared with it."""
    rows = attack("ce at --attack fmn:steps=5 --threat l2:inf --limit 12")
    ids = [row["run_id"] for row in rows]
    for row in rows:
        stored = info(row["run_id"])
        for name in (
            "robust_accuracy",
            "robust_accuracy_low",
            "robust_accuracy_high",
            "robust_accuracy_floor",
        ):
            assert row[name] is None
            assert stored[name] is None
        assert (row["robust_difference"], row["best"]) == (None, False)
        assert "without a budget" in row["note"]
    for form, empty in (("markdown", "| - |"), ("latex", "- &"), ("csv", ",,,,")):
        done = cli(
            "compare",
            *ids,
            f"--{form}",
            "--columns",
            "clean_accuracy,robust_accuracy,distance_p50",
            "--out",
            store,
        )
        assert done.out.count(empty) == 2, done.out
        assert "0.0%" not in done.out
    card, listed = cli("show", ids[0], "--out", store), cli("runs", "--out", store)
    assert re.search(r"robust accuracy +- \(no budget\)", card.out), card.out
    (line,) = [line for line in listed.out.splitlines() if ids[0] in line]
    assert line.split()[4] == "-", line
    page = tmp_path / "page.html"
    assert cli("report", *ids, "--html", page, "--out", store).code == 0
    (table,) = re.findall(r'id="comparison".*?</table>', page.read_text(), re.DOTALL)
    assert "median distance" in table
    assert ">0.0%<" not in table


def test_a_worst_margin_that_nobody_knows_is_null(cli, store, attack, info, samples):
    """A package without points for robust samples: null in rows, `-` in the table, no median."""
    (row,) = attack("at --attack pyautoattack:version=apgd-ce --threat linf:0.05 --limit 24")
    kept = samples(row["run_id"])
    stands = [r["robust"] for r in kept]
    assert 12 < sum(stands) < 24
    assert (
        [r["adv_margin"] is None for r in kept]
        == [r["adv_pmargin"] is None for r in kept]
        == stands
    )
    assert (
        row["adv_margin_p50"],
        row["adv_margin_mean"],
        info(row["run_id"])["adv_margin_p50"],
    ) == (None, None, None)
    assert row["clean_margin_p50"] > 0
    table = cli("compare", row["run_id"], "--out", store)
    assert re.search(rf"{row['clean_margin_p50']:.2f} -> -", table.out), table.out
    refused(
        cli(
            "gate",
            "--baseline",
            row["run_id"],
            "--candidate",
            row["run_id"],
            "--max-margin-drop",
            "1",
            "--out",
            store,
        ),
        "not known",
    )


def test_no_median_under_a_budget(attack, info):
    """With a budget the perturbations found are not smallest ones: null."""
    (row,) = attack("ce --attack fmn:steps=5 --threat l2:0.5 --limit 10")
    assert row["distance_p50"] is info(row["run_id"])["distance_p50"] is None


def test_a_median_that_is_not_known(cli, store, attack, info):
    """Where half have no adversarial point, the median is infinite and never a number."""
    (row,) = attack(
        "at --attack minimal:attack=(noise:steps=1),rounds=1,high=0.001 --threat linf:inf "
        "--limit 21"
    )
    assert row["adversarial_ratio"] < 0.5
    assert info(row["run_id"])["distance_p50"] == float("inf")
    assert row["distance_p50"] is None
    assert "fall within linf inf" not in " ".join(
        cli("compare", row["run_id"], "--out", store).out.split()
    )


# -- replay


def test_round_trip(attack, samples):
    """The same model under another attack: every broken sample falls to its stored point."""
    (first,) = attack("at --attack apgd:steps=10 --threat linf:0.15 --limit 60 --store-points")
    (again,) = attack("at --attack fgsm --threat linf:0.15 --limit 60 --replay", first["run_id"])
    assert first["run_id"] != again["run_id"]
    fell = 0
    for a, b in zip(samples(first["run_id"]), samples(again["run_id"]), strict=True):
        if a["adversarial"] and a["clean_correct"]:
            fell += 1
            assert (b["adversarial"], b["broken_by"], b["n_forward"], b["n_backward"]) == (
                True,
                "replay",
                2,
                0,
            )
            assert (b["broken_variant"], b["first_success_step"], b["status"]) == (None, None, OK)
            assert b["dist_linf"] <= a["dist_linf"] + 1e-7
    assert fell > 10
    assert again["robust_accuracy"] <= first["robust_accuracy"]


def test_points_of_another_model(attack, samples):
    """Tried on another model they break some samples, truly."""
    (first,) = attack("ce --attack apgd:steps=10 --threat linf:0.15 --limit 60 --store-points")
    (again,) = attack("at --attack fgsm --threat linf:0.15 --limit 60 --replay ce")
    broken = [row["broken_by"] for row in samples(again["run_id"])]
    assert 0 < broken.count("replay") < 60
    (plain,) = attack("at --attack fgsm --threat linf:0.15 --limit 60")
    assert plain["robust_accuracy"] >= again["robust_accuracy"]
    assert first["model"] == "ce"


@pytest.mark.parametrize(
    "line", ["--replay nobody", "--replay 0123abcd", "--replay /nowhere/x.parquet", "--replay at"]
)
def test_bad_names_of_runs(cli, store, snapshot, attack, line):
    """An unknown run, a missing path, a model without results are refused at once."""
    attack("ce --attack fgsm --limit 5 --store-points")
    before = snapshot(store)
    refused(cli("attack ce --attack fgsm --limit 9 --out", store, *line.split()))
    assert snapshot(store) == before


def test_a_run_without_points(cli, store, snapshot, attack):
    """It cannot be replayed: exit 2, with the flag to keep points; nothing is touched."""
    (plain,) = attack("ce --attack fgsm --limit 5")
    before = snapshot(store)
    refused(
        cli("attack ce --attack pgd:steps=2 --limit 5 --out", store, "--replay", plain["run_id"]),
        "--store-points",
    )
    assert snapshot(store) == before


def test_damaged_points(cli, store, attack):
    """A points file that cannot be read is a user's error that names it."""
    (first,) = attack("ce --attack fgsm --limit 30 --store-points")
    path = store / "results" / "points" / f"{first['run_id']}.parquet"
    path.write_bytes(path.read_bytes()[:200])
    refused(
        cli("attack ce --attack pgd:steps=2 --limit 5 --replay", first["run_id"], "--out", store),
        "points",
        "damaged",
    )


def test_what_is_replayed_is_part_of_the_run(attack):
    """Another run's points make another run; their order and the way they are named do not."""
    first, second = attack(
        "ce --attack fgsm --threat linf:0.1 --threat l2:0.5 --limit 9 --store-points"
    )
    ids = [first["run_id"], second["run_id"]]
    line = "ce --attack pgd:steps=2 --threat linf:0.1 --limit 9"
    found = [
        attack(line, *words)[0]["run_id"]
        for words in (
            [],
            ["--replay", ids[0]],
            ["--replay", ids[0], "--replay", ids[1]],
            ["--replay", ids[1], "--replay", ids[0][:6]],
        )
    ]
    assert len(set(found)) == 3
    assert found[2] == found[3]


def test_a_name_replays_the_runs_that_kept_points(attack):
    """Of a model's runs those without points do not stand in the way; alone they are an error."""
    attack("ce --attack fgsm --threat linf:0.1 --limit 9")
    kept = attack("ce --attack pgd:steps=3 --threat linf:0.1 --limit 9 --store-points")[0]["run_id"]
    line = "ce --attack pgd:steps=2 --threat linf:0.1 --limit 9 --replay"
    assert attack(line, "ce")[0]["run_id"] == attack(line, kept)[0]["run_id"]


@pytest.mark.parametrize("order", [1, -1])
def test_points_of_several_runs(attack, samples, order):
    """Of a sample's points in several runs, one that fits the budget is tried."""
    (large,) = attack("at --attack apgd:steps=5 --threat linf:0.4 --limit 40 --store-points")
    (small,) = attack("at --attack apgd:steps=10 --threat linf:0.15 --limit 40 --store-points")
    names = [word for run in (large, small)[::order] for word in ("--replay", run["run_id"])]
    (again,) = attack("at --attack fgsm --threat linf:0.15 --limit 40", *names)
    before, after = samples(small["run_id"]), samples(again["run_id"])
    assert sum(a["broken_by"] not in (None, "clean") for a in before) > 3
    assert sum(b["broken_by"] == "replay" for b in after) > 3
    assert all(b["adversarial"] or not a["adversarial"] for a, b in zip(before, after, strict=True))


def test_points_of_a_model_with_runs_in_other_norms(attack, samples):
    """`--replay MODEL` means all its runs: those of another norm do not hide the fitting ones."""
    attack("at --attack apgd:steps=5 --threat l2:3 --limit 40 --store-points")
    (small,) = attack("at --attack apgd:steps=10 --threat linf:0.15 --limit 40 --store-points")
    (again,) = attack("at --attack fgsm --threat linf:0.15 --limit 40 --replay at")
    before, after = samples(small["run_id"]), samples(again["run_id"])
    assert sum(a["broken_by"] not in (None, "clean") for a in before) > 3
    assert sum(b["broken_by"] == "replay" for b in after) > 3
    assert all(b["adversarial"] or not a["adversarial"] for a, b in zip(before, after, strict=True))


# -- limits of time and queries


@pytest.mark.parametrize("text", ["5000q", "soon", "-5s"])
def test_bad_limits(cli, store, text):
    """Anything else is refused, with examples, and exit 2."""
    words = ["attack", "ce", "--attack", "fgsm", "--limit", 5, "--out", store]
    refused(cli(*words, f"--max-time={text}"), "max_time", "90s")
    refused(cli(*words, f"--max-queries={text}"), "max_queries", "5000")


LINE = "at --attack pgd:steps=6,restarts=2 --attack apgd:steps=12 --threat linf:0.15 --limit 60"


@pytest.mark.parametrize("limit", [1, 5, 12])
def test_so_many_queries(cli, store, attack, samples, info, limit):
    """No sample takes more, but for a check; the unfinished are marked and bound the value."""
    (free,) = attack(LINE)
    done = cli("attack", *LINE.split(), "--max-queries", limit, "--json", "--out", store)
    (row,) = done.json["rows"]
    rows = samples(row["run_id"])
    assert row["run_id"] != free["run_id"]
    assert max(r["n_forward"] for r in rows) <= limit + 1
    unfinished = sum(r["status"] == UNFINISHED for r in rows)
    assert row["n_unfinished"] == info(row["run_id"])["n_unfinished"] == unfinished > 0
    assert row["robust_accuracy_floor"] <= free["robust_accuracy"] <= row["robust_accuracy"]
    assert row["robust_accuracy"] - row["robust_accuracy_floor"] == pytest.approx(unfinished / 60)
    assert all(not r["adversarial"] for r in rows if r["status"] == UNFINISHED)
    floor, top = (f"{row[name]:.1%}" for name in ("robust_accuracy_floor", "robust_accuracy"))
    assert f"{floor} to {top}" in done.err
    assert info(row["run_id"])["max_queries"] == limit
    table = " ".join(cli("compare", row["run_id"], "--out", store).out.split())
    assert f"{unfinished} samples unfinished" in table
    assert f"{floor} to {top}" in table


def test_enough_queries(attack, samples):
    """A limit that is never reached gives the rows of a run without, under another id."""
    (free,), (held,) = attack(LINE), attack(f"{LINE} --max-queries 1000")
    assert [{**row, "run_id": ""} for row in samples(free["run_id"])] == [
        {**row, "run_id": ""} for row in samples(held["run_id"])
    ]
    assert (held["n_unfinished"], held["robust_accuracy_floor"]) == (0, held["robust_accuracy"])


def test_both_limits_at_once(cli, attack, info, store):
    """The first limit ends a sample; the run has both, and differs from one with either."""
    (row,) = attack(f"{LINE} --max-queries 5 --max-time 1h")
    kept = info(row["run_id"])
    assert (kept["max_queries"], kept["max_time_s"]) == (5, 3600)
    assert row["n_unfinished"] > 0
    (alone,) = attack(f"{LINE} --max-queries 5")
    assert alone["run_id"] != row["run_id"]
    assert "within 3600s, 5 queries" in " ".join(
        cli("compare", row["run_id"], "--out", store).out.split()
    )
    refused(
        cli("compare", row["run_id"], alone["run_id"], "--out", store),
        "limits: 5 queries and 3600s, 5 queries",
    )


@pytest.mark.usefixtures("step_by_step")
@pytest.mark.parametrize("steps", [0, 3, 12, 30])
def test_so_much_time(cli, store, attack, samples, info, monkeypatch, steps):
    """When time is up the undecided are marked, the run written, exit 0, bounds on stderr."""
    (free,) = attack(LINE)
    calls = itertools.count()
    monkeypatch.setattr(session.AttackSession, "_out_of_time", lambda self: next(calls) >= steps)
    done = cli(
        "attack", *LINE.split(), "--batch-size", 16, "--max-time", "1h", "--json", "--out", store
    )
    assert done.code == 0, done.err
    (row,) = done.json["rows"]
    rows, whole = samples(row["run_id"]), samples(free["run_id"])
    assert len(rows) == 60
    assert row["n_unfinished"] == sum(r["status"] == UNFINISHED for r in rows) > 0
    assert row["robust_accuracy_floor"] <= free["robust_accuracy"] <= row["robust_accuracy"]
    floor, top = (f"{row[name]:.1%}" for name in ("robust_accuracy_floor", "robust_accuracy"))
    assert f"{floor} to {top}" in done.err
    assert not info(row["run_id"])["deterministic"]
    assert info(row["run_id"])["max_time_s"] == 3600
    for r, w in zip(rows, whole, strict=True):
        assert r["status"] == UNFINISHED or {**r, "run_id": ""} == {**w, "run_id": ""}
    assert not list((store / "results" / "partial").glob("*"))


def test_no_time_at_all(cli, store, attack):
    """A time limit over before the first step leaves clean verdicts, at several budgets."""
    rows = attack("at --attack apgd --threat linf:0.05,0.1 --limit 40 --max-time 0.000001s")
    for row in rows:
        assert row["robust_accuracy"] == row["clean_accuracy"]
        assert row["robust_accuracy_floor"] == 0
        assert row["n_unfinished"] == round(40 * row["clean_accuracy"])


def test_plenty_of_time(attack, samples):
    """A time limit that is not used up changes nothing about the rows."""
    (free,), (held,) = attack(LINE), attack(f"{LINE} --max-time 1h")
    assert [{**row, "run_id": ""} for row in samples(free["run_id"])] == [
        {**row, "run_id": ""} for row in samples(held["run_id"])
    ]


@pytest.mark.few(2)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("late", [False, True])
def test_a_signal_within_a_time_limit(cli, store, monkeypatch, number, late):
    """It is still a stop, even as time runs out: 130 or 143, no run, finished work kept."""
    ticks, cascade_run = itertools.count(), session.Cascade.run

    def signalled(self, **ends):
        for tick in cascade_run(self, **ends):
            if next(ticks) == 20:
                os.kill(os.getpid(), number)
                if late:
                    monkeypatch.setattr(session.AttackSession, "_out_of_time", lambda self: True)
            yield tick

    monkeypatch.setattr(session.Cascade, "run", signalled)
    stopped = cli("attack", *LINE.split(), "--batch-size", 16, "--max-time", "1h", "--out", store)
    monkeypatch.undo()
    assert (stopped.code, stopped.out) == (128 + number, ""), stopped.err
    assert "--max-time 1h" in stopped.err
    assert not (store / "results" / "runs").exists()
    again = cli(
        "attack", *LINE.split(), "--batch-size", 16, "--max-time", "1h", "--json", "--out", store
    )
    assert again.code == 0
    assert "going on" in again.err
    assert again.json["rows"][0]["n_unfinished"] == 0


# -- precision


def test_bf16_successes_hold_in_float32(attack, samples, info, store):
    """Every stored point of a bfloat16 search is adversarial in float32; the run says so."""
    (exact,) = attack("at --attack apgd:steps=10 --threat linf:0.15 --limit 80")
    (row,) = attack(
        "at --attack apgd:steps=10 --threat linf:0.15 --limit 80 --precision bf16 --store-points"
    )
    config = AttackConfig(threat=("linf:0.15",), limit=80)
    (plan,) = plan_attacks(["at"], config, out=store, device="cpu", data_dir=None, download=False)
    points = points_to_replay(
        [store / "results" / "runs" / f"{row['run_id']}.parquet"],
        plan.subject.split,
        plan.threats[-1],
    )
    broken = 0
    for r in samples(row["run_id"]):
        if r["adversarial"] and r["clean_correct"]:
            broken += 1
            with frozen(plan.subject.model), torch.no_grad():
                x = points[r["sample_index"]]
                assert int(plan.subject.model(x[None]).argmax()) != r["label"]
    assert broken > 10
    assert abs(row["robust_accuracy"] - exact["robust_accuracy"]) < 0.05
    known = info(row["run_id"])
    assert (known["precision"], known["deterministic"]) == ("bf16", False)
    assert known["n_disagreements"] >= 0
    assert (info(exact["run_id"])["precision"], info(exact["run_id"])["n_disagreements"]) == (
        "fp32",
        0,
    )


def test_fp64_finds_as_float32_does(attack, info):
    """As many fall, another model's points among them; the run says so and is as exact."""
    line = "at --attack transfer:source=ce --attack pgd:steps=5 --threat linf:0.15 --limit 40"
    (single,) = attack(line)
    (double,) = attack(f"{line} --precision fp64")
    assert double["robust_accuracy"] == pytest.approx(single["robust_accuracy"], abs=0.026)
    known = info(double["run_id"])
    assert (known["precision"], known["deterministic"]) == ("fp64", True)
    assert known["n_disagreements"] == 0


# -- cascades


def test_the_catalogue_knows_cascades(cli):
    """`list attacks` shows them, in JSON under a key of their own; `list models` does not."""
    text, plain = cli("list attacks").out, cli("list attacks --json").json
    for name in cascades():
        assert re.search(rf"^\s*{re.escape(name)} ", text, re.MULTILINE)
    assert {row["name"] for row in plain["cascades"]} == set(cascades())
    assert not {row["name"] for row in plain["attacks"]} & set(cascades())
    assert "cascades" not in cli("list models --json").json
    assert "autoattack" not in cli("list losses").out


@pytest.mark.parametrize("name", sorted(cascades()))
def test_explain_a_cascade(cli, name):
    """What it stands for, in text within 80 columns and in JSON."""
    done = cli("explain", name)
    assert (done.code, done.err) == (0, "")
    assert max(map(len, done.out.splitlines())) <= 80
    (entry,) = cli("explain", name, "--json").json["entries"]
    assert (entry["kind"], entry["name"], entry["attacks"]) == (
        "cascade",
        name,
        cascades()[name]["attacks"],
    )
    assert all(spec in done.out for spec in entry["attacks"])


def test_near_names_of_cascades(cli, store):
    """A typing error in a cascade's name gets the right one, in `explain` and `attack`."""
    refused(cli("explain autoatack"), "autoattack")
    refused(cli("attack ce --attack autoatack --limit 5 --out", store), "autoattack")


def test_a_cascade_with_options(cli, store):
    """Is refused, and told where to look."""
    refused(
        cli("attack ce --attack autoattack:version=plus --limit 5 --out", store),
        "takes no options",
        "explain autoattack",
    )


def test_what_a_run_says_of_its_cascade(attack, info, samples, cli, store):
    """`attack` is the name given, `attack_params` all in full, `broken_by` the attack."""
    (row,) = attack("ce --attack autoattack-fast --threat linf:0.15 --limit 40")
    known = info(row["run_id"])
    assert row["attack"] == known["attack"] == "autoattack-fast"
    specs = cascades()["autoattack-fast"]["attacks"]
    params = json.loads(known["attack_params"])
    assert params == [ATTACKS.canonical(spec, full=True) for spec in specs]
    assert "steps=20" in params[0]
    again = cli("attack ce --attack autoattack-fast --threat linf:0.15 --limit 40 --out", store)
    assert "ce linf:0.15: not audited: autoattack may break more than autoattack-fast" in again.err
    broken = {r["broken_by"] for r in samples(row["run_id"])} - {None, "clean"}
    assert broken
    assert broken <= {ATTACKS.canonical(spec) for spec in specs}
    (mixed,) = attack(
        "ce --attack fgsm --attack autoattack-fast --attack pgd:steps=3 --threat linf:0.15 "
        "--limit 40"
    )
    assert mixed["attack"] == "fgsm + autoattack-fast + pgd:steps=3"
    plan = cli("attack ce --attack autoattack-fast --limit 40 --dry-run --out", store).json["runs"][
        0
    ]
    assert plan["attacks"] == [ATTACKS.canonical(spec) for spec in specs]


def test_a_name_is_what_it_stands_for(attack, store, tmp_path, cli, snapshot):
    """A cascade, its attacks, a file of them and a config file are one run, found again."""
    mine, config = tmp_path / "mine.toml", tmp_path / "config.toml"
    specs = cascades()["autoattack-fast"]["attacks"]
    mine.write_text(f"attacks = {json.dumps(specs)}\n")
    config.write_text(f"[attack]\nattack = {json.dumps(specs)}\n")
    line = "ce --threat linf:0.1 --limit 20"
    (first,) = attack(f"{line} --attack autoattack-fast")
    before = snapshot(store)
    for words in (
        [word for spec in specs for word in ("--attack", spec)],
        ["--attack", mine],
        ["--config", config],
        ["--attack", "apgd:steps=20,objective=cross-entropy", "--attack", specs[1]],
    ):
        (again,) = attack(line, *words)
        assert again["run_id"] == first["run_id"]
        assert again == first
    assert snapshot(store) == before


def test_a_file_of_ones_own(attack, tmp_path, info, private, cli, store):
    """Its path is the name; a norm's table counts in that norm; paths are relative to cwd."""
    (tmp_path / "mine.toml").write_text('attacks = ["fgsm"]\n[l2]\nattacks = ["pgd:steps=2"]\n')
    rows = attack(
        "ce --attack mine.toml --threat linf:0.1 --threat l2:0.5 --limit 20", cwd=tmp_path
    )
    assert [row["attack"] for row in rows] == ["mine.toml", "mine.toml"]
    assert [
        json.loads(info(row["run_id"])["attack_params"])[0].partition(":")[0] for row in rows
    ] == ["fgsm", "pgd"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read"),
        ("", "list of specs"),
        ("attacks = [", "TOML"),
        ('attacks = ["apdg"]', "apgd"),
        ('attacks = ["pgd"]\n[linf]\nattacks = 3', "list of specs"),
        ('attacks = ["autoattack", "apdg"]', "apgd|autoattack"),
    ],
)
def test_files_that_are_no_cascade(cli, store, snapshot, tmp_path, content, message):
    """Missing, empty, malformed, with a typing error: exit 2, one line, nothing written."""
    path = tmp_path / "mine.toml"
    if content is not None:
        path.write_text(content)
    before = snapshot(store)
    refused(cli("attack ce --limit 5 --out", store, "--attack", path), message)
    assert snapshot(store) == before


def test_an_empty_list_of_attacks(cli, store, snapshot, tmp_path):
    """No attack at all is a mistake, not a run in which everything is robust."""
    (tmp_path / "c.toml").write_text("[attack]\nattack = []\n")
    before = snapshot(store)
    refused(cli("attack ce --limit 5 --out", store, "-c", tmp_path / "c.toml"), "attack")
    assert snapshot(store) == before


# -- flags

ILL = """
import torch
from torch import nn

class Base(nn.Module):
    def __init__(self):
        from sklearn.datasets import load_digits
        super().__init__()
        self.linear = nn.Linear(64, 10)
        x, y = (torch.tensor(column[:1200]) for column in load_digits(return_X_y=True))
        x = torch.cat([x.float() / 16, torch.ones(1200, 1)], 1)
        target = nn.functional.one_hot(y, 10).float()
        fit = torch.linalg.solve(x.T @ x + torch.eye(65), x.T @ target)
        self.linear.weight.data, self.linear.bias.data = 10 * fit[:64].T.contiguous(), 10 * fit[64]
    def forward(self, x):
        return self.linear(x.flatten(1))

class Rounded(Base):
    def forward(self, x):
        return super().forward((x * 16).round() / 16)

class Noisy(Base):
    def forward(self, x):
        logits = super().forward(x)
        return logits + 0.3 * torch.randn_like(logits)

class Saturated(Base):
    def forward(self, x):
        return 1e4 * super().forward(x)
"""


@pytest.mark.parametrize(
    ("factory", "flag"),
    [
        ("Rounded", "zero-gradient"),
        ("Noisy", "random"),
        ("Saturated", "zero-gradient"),
        ("Base", None),
    ],
)
def test_flags_of_models(cli, private, tmp_path, factory, flag):
    """A flagged model has it in its row, on stderr, in table and JSON; a plain one has none."""
    folder, out = private("flagged_models", ILL), tmp_path / "S"
    line = (
        f"attack flagged_models:{factory} --attack pgd:steps=3 --threat linf:0.05 --limit 30 "
        "--json --out"
    )
    done = cli(line, out, cwd=folder)
    assert done.code == 0, done.err
    (row,) = done.json["rows"]
    (known,) = pq.read_table(out / "results" / "runs" / f"{row['run_id']}.parquet").to_pylist()
    stored = json.loads(known["flags"])
    assert stored == row["flags"]
    table = cli("compare", row["run_id"], "--out", out)
    again = cli(line, out, cwd=folder)  # found in the store: the flags are said again
    if flag is None:
        assert stored == []
        (forecast,) = done.err.splitlines()
        assert " queries in about " in forecast
        assert "gradient" not in table.out
        return
    assert flag in {entry["name"] for entry in stored}
    for entry in stored:
        assert set(entry) == {"name", "count", "text"}
        assert f"{entry['name']}: {entry['text']}" in done.err
        assert f"{entry['name']}: {entry['text']}" in again.err
        assert f"{entry['name']}: {' '.join(entry['text'].split())}" in " ".join(table.out.split())


def test_no_flags_for_the_trained_models(attack, info):
    """Ordinary networks under ordinary attacks raise none."""
    rows = attack(
        "ce at --attack pgd:steps=3 --attack apgd-t:steps=5 --attack square:steps=50 "
        "--threat linf:0.05,0.15 --limit 80"
    )
    assert len(rows) == 4
    for row in rows:
        assert row["flags"] == json.loads(info(row["run_id"])["flags"]) == []


def test_flags_survive_an_interruption(cli, private, tmp_path, monkeypatch):
    """A run that was stopped and continued says the same of the model as one that was not."""
    folder = private("flagged_models", ILL)
    line = (
        "attack flagged_models:Rounded --attack pgd:steps=3,init=clean --threat linf:0.05 "
        "--limit 80 --batch-size 16 --json --out"
    )
    whole = cli(line, tmp_path / "A", cwd=folder)
    ticks, cascade_run = itertools.count(), session.Cascade.run

    def signalled(self, **ends):
        for tick in cascade_run(self, **ends):
            if next(ticks) == 8:
                os.kill(os.getpid(), signal.SIGINT)
            yield tick

    with monkeypatch.context() as patch:
        patch.setattr(session.Cascade, "run", signalled)
        assert cli(line, tmp_path / "B", cwd=folder).code == 130
    again = cli(line, tmp_path / "B", cwd=folder)
    assert "going on" in again.err
    assert whole.json["rows"][0]["flags"] == again.json["rows"][0]["flags"] != []
