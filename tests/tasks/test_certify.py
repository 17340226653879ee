"""`robbench certify`: both bounds of robust accuracy, what is kept, and what is refused."""

from __future__ import annotations

import math
import shutil
from statistics import median

import numpy as np
import pyarrow.parquet as pq
import pytest

import robbench
from robbench.certifiers.crown import CROWN
from robbench.core.errors import UserError
from robbench.data.base import sample_ids
from robbench.store.run import read_run
from robbench.store.store import Store

TRAIN = (
    "train --data digits --loss cross-entropy --model mlp:width=12,depth=1 --recipe digits-smoke "
    "--epochs 2 --name m --quiet --out"
)
ATTACK = "attack m --attack pgd:steps=20 --threat linf:0.05 --limit 40 --quiet --json --out"
CERTIFY = "certify m --threat linf:0.05 --limit 40 --out"


@pytest.fixture(scope="module")
def out(cli, tmp_path_factory):
    """A small model, attacked. Not to be written to."""
    folder = tmp_path_factory.mktemp("certify") / "S"
    for line in (TRAIN, ATTACK):
        done = cli(line, folder)
        assert done.code == 0, done.err
    return folder


@pytest.fixture
def own(out, tmp_path):
    """A copy to write to."""
    return shutil.copytree(out, tmp_path / "S")


def rows_of(folder):
    """The rows of the only certificates table."""
    (path,) = (folder / "results" / "certificates").glob("*.parquet")
    return pq.read_table(path).to_pylist()


def test_both_bounds_from_certificates_and_the_attack(own, cli):
    """No certified sample was broken; counts, rates and verdicts are those of the rows."""
    done = cli(CERTIFY, own, "--json")
    assert done.code == 0, done.err
    (found,) = done.json["rows"]
    (path,) = (own / "results" / "runs").glob("*.parquet")
    samples = {row["sample_id"]: row for row in read_run(path).samples.to_pylist()}
    rows = {row["sample_id"]: row for row in rows_of(own)}
    assert rows.keys() == samples.keys()
    for sample, row in rows.items():
        assert row["predicted"] == samples[sample]["clean_pred"]
        assert row["certified"] == (row["margin_low"] is not None and row["margin_low"] > 0)
        assert (row["margin_low"] is None) == (not samples[sample]["clean_correct"])
        if row["margin_low"] is not None:
            assert row["margin_low"] <= samples[sample]["adv_margin"] + 1e-4
        assert not (row["certified"] and samples[sample]["adversarial"])
        verdict = (
            "certified"
            if row["certified"]
            else "broken"
            if samples[sample]["adversarial"]
            else "unknown"
        )
        assert found["verdicts"][f"{sample:016x}"] == verdict
    assert found["n_broken"] == sum(row["adversarial"] for row in samples.values())
    assert found["n_certified"] == sum(row["certified"] for row in rows.values()) > 0
    assert found["n_certified"] + found["n_broken"] + found["n_unknown"] == 40
    assert found["robust_accuracy"] == 1 - found["n_broken"] / 40
    assert found["certified_accuracy"] == found["n_certified"] / 40 <= found["robust_accuracy"]
    assert found["runs"] == [path.stem]
    assert found["contradicted"] == []


def test_compare_has_the_lower_bound(own, cli):
    """Of a run with certificates; by several methods together; smoothed ones do not count."""
    plain = cli("compare m --json --out", own).json["rows"][0]
    assert plain["certified_accuracy"] is None
    assert "certified" not in cli("compare m --out", own).out
    (found,) = cli(CERTIFY, own, "--json").json["rows"]
    cli(CERTIFY.replace("m ", "m --method ibp "), own, "--quiet")
    row = cli("compare m --json --out", own).json["rows"][0]
    assert row["certified_accuracy"] == found["certified_accuracy"] > 0
    shown = cli("compare m --out", own).out
    assert "certified" in shown
    assert f"{100 * found['certified_accuracy']:.1f}%" in shown
    assert r"Certified (\%)" in cli("compare m --latex --out", own).out


def test_smoothing_says_nothing_about_the_model(own, cli):
    """Its rows are marked, no attack is joined, words say whose certificates they are."""
    cli("attack m --attack fgsm --threat l2:0.1 --limit 6 --quiet --out", own)
    words = "certify m --threat l2:0.1 --limit 6 --out"
    spec = "smoothing:sigma=0.1,n0=20,n=200"
    done = cli(words, own, "--method", spec, "--json")
    assert done.code == 0, done.err
    (found,) = done.json["rows"]
    assert (found["smoothed"], found["runs"]) == (True, [])
    rows = rows_of(own)
    for row in rows:
        right = row["predicted"] == row["label"]
        enough = row["radius"] is not None and row["radius"] > 0.1
        assert row["certified"] == (right and enough)
        assert row["margin_low"] is None
        assert row["n_forward"] == 220
    assert any(row["certified"] for row in rows)
    shown = cli(words, own, "--method", spec)
    assert "the smoothed classifier, not the model" in " ".join(shown.out.split())
    few = {row["sample_id"]: row["radius"] for row in rows}
    cli("certify m --threat l2:0.1 --limit 2 --force --quiet --out", own, "--method", spec)
    assert all(few[row["sample_id"]] == row["radius"] for row in rows_of(own))
    (compared,) = cli("compare m --where threat=l2:0.1 --json --out", own).json["rows"]
    assert compared["certified_accuracy"] is None
    assert cli("certify m --threat linf:0.1 --method smoothing --out", own).code == 2


def _falsely_certified(folder, **given):
    """Certify every sample that the model gets right, with these columns."""
    (path,) = (folder / "results" / "certificates").glob("*.parquet")
    claimed = {"certified": True, "margin_low": 0.5} | given
    rows = [row if row["predicted"] != row["label"] else row | claimed for row in rows_of(folder)]
    Store(folder).write_certificates(path.stem, rows)


def _broken_in(folder, run_id):
    """The ids of samples that a run broke, without those that are wrong without an attack."""
    samples = read_run(folder / "results" / "runs" / f"{run_id}.parquet").samples.to_pylist()
    return {row["sample_id"] for row in samples if row["adversarial"] and row["clean_correct"]}


def test_a_certificate_that_an_attack_contradicts_is_an_error_of_soundness(own, cli, tmp_path):
    """Said by certify, and as a flag by compare, show, report, card and export."""
    cli(CERTIFY, own, "--quiet")
    _falsely_certified(own)
    (run,) = (path.stem for path in (own / "results" / "runs").glob("*.parquet"))
    broken = {f"{sample:016x}" for sample in _broken_in(own, run)}
    assert broken
    done = cli(CERTIFY, own, "--json")
    (found,) = done.json["rows"]
    assert set(found["contradicted"]) == set(found["unsound"]) == broken
    assert {found["verdicts"][sample] for sample in broken} == {"broken"}
    assert "error of soundness" in done.err
    assert "the certificate or the attack is wrong" in done.err
    assert "alone explains" not in done.err
    (row,) = cli("compare m --json --out", own).json["rows"]
    assert "unsound" in [flag["name"] for flag in row["flags"]]
    assert row["certified_accuracy"] == found["certified_accuracy"]
    (text,) = (flag["text"] for flag in row["flags"] if flag["name"] == "unsound")
    for words in (f"show {run}", "compare m", "card m"):
        assert "error of soundness" in " ".join(cli(words, "--out", own).out.split())
    assert cli("report --quiet --html", tmp_path / "r.html", "--out", own).code == 0
    assert "error of soundness" in (tmp_path / "r.html").read_text()
    assert text in cli("export m --to bencher --out", own).err


def test_rounding_explains_a_contradiction_where_both_margins_are_near(own, cli, change):
    """Such samples count as broken and are said; they are no flag."""
    cli(CERTIFY, own, "--quiet")
    _falsely_certified(own, margin_low=1e-7)
    (path,) = (own / "results" / "samples").glob("*.parquet")
    margins = read_run(path).samples["adv_margin"].to_pylist()
    change(path, adv_margin=[min(max(margin, -1e-7), 1.0) for margin in margins])
    broken = {f"{sample:016x}" for sample in _broken_in(own, path.stem)}
    done = cli(CERTIFY, own, "--json")
    (found,) = done.json["rows"]
    assert (set(found["contradicted"]), found["unsound"]) == (broken, [])
    assert {found["verdicts"][sample] for sample in broken} == {"broken"}
    assert f"broke {len(broken)} certified samples, which float32 rounding alone" in done.err
    (row,) = cli("compare m --json --out", own).json["rows"]
    assert "unsound" not in [flag["name"] for flag in row["flags"]]


def test_a_certificate_of_a_budget_is_held_against_smaller_distances(own, cli):
    """Of a run without a budget, and of one with another: a smaller mistake is one, too."""
    cli("attack m --attack fab --threat linf:inf --limit 40 --quiet --out", own)
    shutil.rmtree(own / "results" / "certificates", ignore_errors=True)
    cli("certify m --threat linf:0.2 --limit 40 --quiet --out", own)
    _falsely_certified(own)
    done = cli("certify m --threat linf:0.2 --limit 40 --json --out", own)
    (found,) = done.json["rows"]
    runs = {
        run.info["eps"]: run
        for path in (own / "results" / "runs").glob("*.parquet")
        if (run := read_run(path))
    }
    assert set(found["runs"]) == {run.info["run_id"] for run in runs.values()}
    near = {
        row["sample_id"]
        for run in runs.values()
        for row in run.samples.to_pylist()
        if row["clean_correct"] and row["adversarial"] and row["dist_linf"] <= 0.2
    }
    assert len(near) > len(_broken_in(own, runs[0.05].info["run_id"])) > 0
    assert set(found["unsound"]) == {f"{sample:016x}" for sample in near}
    for threat in ("linf:inf", "linf:0.05"):
        (row,) = cli(f"compare m --where threat={threat} --json --out", own).json["rows"]
        assert "unsound" in [flag["name"] for flag in row["flags"]]


def test_what_is_wrong_without_an_attack_is_at_distance_0(own, cli):
    """No attack was tried: what is misclassified is at 0 all the same, else nothing is known."""
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8), dtype=np.uint8)
    shutil.rmtree(own / "results")
    line = f"certify m --threat linf:inf --method ibp --data npz:{own / 'x.npz'},classes=10 --out"
    np.savez(own / "x.npz", x_test=images, y_test=np.zeros(6, int))
    cli(line, own)
    predicted = {row["sample_id"]: row["predicted"] for row in rows_of(own)}
    ids = sample_ids(images[:, None], np.zeros(6, int))
    right = np.array([predicted[i] for i in ids.tolist()])
    for labels, accuracy, distance in ((right, 1.0, None), ((right + 1) % 10, 0.0, 0.0)):
        np.savez(own / "x.npz", x_test=images, y_test=labels)
        (found,) = cli(line, own, "--json").json["rows"]
        assert (found["clean_accuracy"], found["distance_p50"]) == (accuracy, distance)


def test_another_attack_never_raises_the_upper_bound(own, cli):
    """All runs of the weights and threat count: a later one of few samples hides none."""
    (before,) = cli(CERTIFY, own, "--json").json["rows"]
    assert before["n_broken"] > 0
    done = cli("attack m --attack fgsm --threat linf:0.05 --limit 2 --quiet --out", own)
    assert done.code == 0, done.err
    (after,) = cli(CERTIFY, own, "--json").json["rows"]
    assert after["n_broken"] >= before["n_broken"]
    assert after["robust_accuracy"] <= before["robust_accuracy"]
    assert (len(before["runs"]), len(after["runs"])) == (1, 2)
    apgd = "attack m --attack apgd:steps=20 --threat linf:0.05 --limit 60 --quiet --out"
    assert cli(apgd, own).code == 0
    runs = [path.stem for path in (own / "results" / "runs").glob("*.parquet")]
    (last,) = cli(CERTIFY, own, "--json").json["rows"]
    union = set.union(*(_broken_in(own, run) for run in runs))
    wrong = {row["sample_id"] for row in rows_of(own) if row["predicted"] != row["label"]}
    mine = {row["sample_id"] for row in rows_of(own)}
    assert last["n_broken"] == len((union | wrong) & mine)


def test_a_budget_written_in_two_ways_is_one(own, cli):
    """An attack at 8/255 meets certificates at 0.0313725, and the other way round."""
    cli("attack m --attack pgd:steps=5 --threat linf:8/255 --limit 20 --quiet --out", own)
    for eps, where in (("0.0313725", "linf:8/255"), ("8/255", "linf:8/255")):
        shutil.rmtree(own / "results" / "certificates", ignore_errors=True)
        (found,) = cli(f"certify m --threat linf:{eps} --limit 20 --json --out", own).json["rows"]
        assert len(found["runs"]) == 1
        (row,) = cli(f"compare m --where threat={where} --json --out", own).json["rows"]
        assert row["certified_accuracy"] == found["certified_accuracy"] > 0
    cli("attack m --attack pgd:steps=5 --threat linf:0.0313725 --limit 20 --quiet --out", own)
    rows = cli("compare m --where attack=pgd:steps=5 --json --out", own).json["rows"]
    assert [row["certified_accuracy"] for row in rows] == [found["certified_accuracy"]] * 2


def test_what_is_decided_is_kept(own, cli, monkeypatch):
    """A killed command goes on where it was; a larger limit adds samples; --force starts anew."""
    seen = []
    real = CROWN.lowest_margins

    def counted(self, network, region, labels):
        if len(seen) == 7:
            seen.append(None)
            raise KeyboardInterrupt
        seen.append(region)
        return real(self, network, region, labels)

    monkeypatch.setattr(CROWN, "lowest_margins", counted)
    stopped = cli(CERTIFY, own)
    assert stopped.code == 130, stopped.err
    before = rows_of(own)
    assert sum(row["margin_low"] is not None for row in before) == 7
    done = cli(CERTIFY, own, "--json")
    assert done.code == 0
    rows = rows_of(own)
    assert rows[: len(before)] == before
    correct = sum(row["margin_low"] is not None for row in rows)
    assert len(seen) == correct + 1
    again = cli(CERTIFY, own)
    assert "nothing to do" in again.err
    assert len(seen) == correct + 1
    cli(CERTIFY.replace("40", "44"), own)
    assert rows_of(own)[:40] == rows
    assert len(rows_of(own)) == 44
    cli(CERTIFY, own, "--force")
    assert len(rows_of(own)) == 40
    keep = ("sample_id", "certified", "margin_low")
    assert [[r[k] for k in keep] for r in rows_of(own)] == [[r[k] for k in keep] for r in rows]


def test_an_order_and_a_part_of_the_samples_change_nothing(own, cli):
    """A sample's bound is the same to the last bit, whatever is certified beside it."""
    cli("certify m --threat l2:0.2 --limit 4 --quiet --out", own)
    few = {row["sample_id"]: row["margin_low"] for row in rows_of(own)}
    cli("certify m --threat l2:0.2 --limit stratified=20 --force --quiet --out", own)
    many = {row["sample_id"]: row["margin_low"] for row in rows_of(own)}
    shared = few.keys() & many.keys()
    assert shared
    assert all(few[sample] == many[sample] for sample in shared)


def test_without_an_attack_only_mistakes_are_broken(own, cli):
    """Then the upper bound is the clean accuracy."""
    done = cli("certify m --threat linf:0.01 --method ibp --limit 30 --json --out", own)
    (found,) = done.json["rows"]
    assert found["runs"] == []
    assert found["robust_accuracy"] == found["clean_accuracy"]
    shown = cli("certify m --threat linf:0.01 --method ibp --limit 30 --out", own)
    assert "certified" in shown.out
    assert "unknown" in shown.out


def test_from_python(own):
    """The rows of the table with their verdicts."""
    found = robbench.certify("m", threat=["linf:0.05", "l2:0.1"], limit=10, out=own)
    assert len(found) == 20
    assert set(found["verdict"]) <= {"certified", "broken", "unknown"}
    assert [row["threat"] for row in found.attrs["summary"]] == ["linf:0.05", "l2:0.1"]
    with pytest.raises(UserError, match="certifies in linf or l2, not in l1:2"):
        robbench.certify("m", threat="l1:2", out=own)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("certify m --threat l1:2", "crown certifies in linf or l2, not in l1:2"),
        ("certify m --threat linf:0", "no budget to certify"),
        ("certify m --threat l1:inf", "crown certifies in linf or l2, not in l1:inf"),
        (
            "certify m --threat linf:inf --method smoothing",
            "smoothing certifies in l2, not in linf:inf",
        ),
        ("certify m --threat corruption:fog@3", "not in corruption:fog@3"),
        ("certify m --threat 'l2:inf -> 3'", "has a target"),
        ("certify m --threat 'linf:0.1 -> 3'", "has a target"),
        ("certify m --method crwon", "unknown certifier 'crwon'; did you mean crown"),
        ("certify m --method crown:inner=x", "inner='x'"),
        ("certify nobody", "unknown model 'nobody'"),
        ("certify", "Missing argument"),
    ],
)
def test_bad_input(own, cli, words, message):
    """One line, exit 2, nothing written."""
    done = cli(f"{words} --out", own)
    assert done.code == 2
    assert message in done.err
    assert len(done.err.splitlines()) == 1
    assert not (own / "results" / "certificates").exists()


def test_a_layer_without_bounds_is_named(own, cli, tmp_path):
    """A model of the user's own with a sigmoid."""
    (tmp_path / "certify_nets.py").write_text(
        "from torch import nn\n\n\ndef make():\n    return nn.Sequential(\n"
        "        nn.Flatten(), nn.Linear(64, 5), nn.Sigmoid(), nn.Linear(5, 10)\n    )\n"
    )
    words = "certify certify_nets:make --data digits --threat linf:0.1 --limit 3 --out"
    done = cli(words, own, cwd=tmp_path)
    assert done.code == 2
    assert "no bounds for layer Sigmoid" in done.err


def test_bounds_are_finite_numbers(own, cli):
    """And fall with the budget."""
    lows = []
    for eps in ("0.01", "0.05", "0.2"):
        done = cli(f"certify m --threat linf:{eps} --limit 8 --quiet --json --out", own)
        assert done.code == 0
        (name,) = {
            row["certificates_id"]
            for path in (own / "results" / "certificates").glob("*.parquet")
            for row in pq.read_table(path).to_pylist()
            if row["eps"] == float(eps)
        }
        rows = Store(own).certificates(name)
        lows.append([row["margin_low"] for row in rows if row["margin_low"] is not None])
    assert all(math.isfinite(low) for found in lows for low in found)
    assert all(a > b > c for a, b, c in zip(*lows, strict=True))


RADII = "certify m --threat linf:inf --limit"


def test_a_radius_beside_the_smallest_perturbation(own, cli, tmp_path):
    """No perturbation is within it; certify, compare, show and the report have both medians."""
    cli(TRAIN.replace("--epochs 2 --name m", "--epochs 20 --name n"), own)
    radii = RADII.replace(" m ", " n ")
    cli("attack n --attack fab --threat linf:inf --limit 16 --quiet --out", own)
    done = cli(f"{radii} 16 --json --out", own)
    assert done.code == 0, done.err
    (found,) = done.json["rows"]
    rows = {row["sample_id"]: row for row in rows_of(own)}
    run = next(
        run for p in (own / "results" / "runs").glob("*") if (run := read_run(p)).info["eps"] > 1
    )
    sizes = {s["sample_id"]: s["dist_linf"] for s in run.samples.to_pylist()}
    for sample, row in rows.items():
        right = row["predicted"] == row["label"]
        assert 0 < row["radius"] < sizes[sample] if right else row["radius"] == 0
        assert found["radii"][f"{sample:016x}"] == row["radius"]
        assert (row["certified"], row["margin_low"]) == (False, None)
    assert found["certified_radius_p50"] == median(row["radius"] for row in rows.values())
    assert found["distance_p50"] == run.info["distance_p50"]
    assert (found["resolution"], found["contradicted"]) == (0.001, [])
    words = " ".join(cli(f"{radii} 16 --out", own).out.split())
    assert "certified radius" in words
    middle = f"{found['certified_radius_p50']:.3g}"
    assert middle in words
    (row,) = cli("compare n --where threat=linf:inf --json --out", own).json["rows"]
    assert row["certified_radius_p50"] == found["certified_radius_p50"] < row["distance_p50"]
    assert row["certified_accuracy"] is None
    assert "half are certified up to" in " ".join(
        cli("compare n --where threat=linf:inf --out", own).out.split()
    )
    shown = " ".join(cli(f"show {run.info['run_id']} --out", own).out.split())
    assert f"certified radius {middle}" in shown
    cli("report --quiet --html", tmp_path / "r.html", "--out", own)
    page = (tmp_path / "r.html").read_text()
    assert "Certified radius: the largest size" in page
    assert f">{middle}<" in page
    one = cli(
        f"certify n --threat linf:{next(iter(rows.values()))['radius']!r} --limit 1 --json --out",
        own,
    )
    assert one.json["rows"][0]["n_certified"] == (next(iter(rows.values()))["radius"] > 0)


def test_a_perturbation_within_a_radius_is_said_to_be_an_error(own, cli):
    """On stderr by certify; as a flag by compare, show and the report."""
    cli("attack m --attack fab --threat linf:inf --limit 6 --quiet --out", own)
    cli(f"{RADII} 6 --method ibp --quiet --out", own)
    (path,) = (own / "results" / "certificates").glob("*.parquet")
    rows = rows_of(own)
    wrong = next(row for row in rows if row["radius"])
    wrong["radius"] = 0.9
    Store(own).write_certificates(path.stem, rows)
    done = cli(f"{RADII} 6 --method ibp --json --out", own)
    assert done.json["rows"][0]["contradicted"] == [f"{wrong['sample_id']:016x}"]
    assert "error of soundness" in done.err
    (row,) = cli("compare m --where threat=linf:inf --json --out", own).json["rows"]
    assert "unsound" in [flag["name"] for flag in row["flags"]]
    assert "error of soundness" in " ".join(
        cli("compare m --where threat=linf:inf --out", own).out.split()
    )
    assert "error of soundness" in " ".join(cli(f"show {row['run_id']} --out", own).out.split())


def test_a_radius_certifies_smaller_budgets(own, cli):
    """In compare, as certificates of that budget do; a perturbation within it is flagged."""
    asked = "compare m --where threat=linf:0.05 --json --out"
    cli(CERTIFY, own, "--method", "ibp", "--quiet")
    (with_budget,) = cli(asked, own).json["rows"]
    shutil.rmtree(own / "results" / "certificates")
    cli(f"{RADII} 40 --method ibp --quiet --out", own)
    (row,) = cli(asked, own).json["rows"]
    assert row["certified_accuracy"] == with_budget["certified_accuracy"] > 0
    assert (row["certified_radius_p50"], row["flags"]) == (None, with_budget["flags"])
    (path,) = (own / "results" / "certificates").glob("*.parquet")
    rows = [row | {"radius": 0.9 if row["radius"] else 0.0} for row in rows_of(own)]
    Store(own).write_certificates(path.stem, rows)
    (row,) = cli(asked, own).json["rows"]
    assert "unsound" in [flag["name"] for flag in row["flags"]]
    assert row["certified_accuracy"] <= row["robust_accuracy"]


def test_certificates_with_fixed_features_say_nothing_of_a_run_without(cli, tmp_path):
    """The samples are the same, but less may change."""
    x = np.random.default_rng(0).uniform(size=(60, 3)).round(3)
    table = ["a,b,c,y", *(f"{a},{b},{c},{int(a + b > 1)}" for a, b, c in x)]
    for name in ("train", "test"):
        (tmp_path / f"{name}.csv").write_text("\n".join(table))
    data, out = f"csv:{tmp_path},label=y", tmp_path / "S"
    words = f"--data {data} --model mlp:width=8,depth=1 --threat linf:0.1 --epochs 1 --name t"
    done = cli(f"train {words} --quiet --out", out)
    assert done.code == 0, done.err
    cli("attack t --attack fab --threat linf:inf --limit 20 --quiet --out", out)
    cli("attack t --attack pgd:steps=5 --threat linf:0.1 --limit 20 --quiet --out", out)
    certify = [
        f"certify t --threat linf:{eps} --limit 20 --method ibp --json --out"
        for eps in ("inf", "0.1")
    ]
    for words in certify:
        done = cli(words, out, "--data", f"{data},fixed=(a,b)")
        assert done.code == 0, done.err
        assert done.json["rows"][0]["runs"] == []
    rows = cli("compare t --allow attack --json --out", out).json["rows"]
    assert len(rows) == 2
    for row in rows:
        assert (row["certified_accuracy"], row["certified_radius_p50"]) == (None, None)
    for words in certify:
        assert len(cli(words, out).json["rows"][0]["runs"]) == 1


def test_a_radius_is_that_of_the_sample_alone(own, cli):
    """To the last bit, with 1, 16 and 100 samples; a larger limit adds rows and leaves others."""
    found = []
    for limit in (1, 16, 100):
        cli(f"{RADII} {limit} --method ibp --force --quiet --out", own)
        found.append({row["sample_id"]: row["radius"] for row in rows_of(own)})
    assert [len(each) for each in found] == [1, 16, 100]
    assert all(found[2][sample] == size for each in found for sample, size in each.items())
    assert len(set(found[2].values())) > 20
    before = rows_of(own)
    assert "nothing to do" in cli(f"{RADII} 16 --method ibp --out", own).err
    assert rows_of(own) == before


def test_radii_of_a_smoothed_classifier_are_its_own(own, cli):
    """Those that it has under a budget."""
    spec = "smoothing:sigma=0.1,n0=20,n=100"
    found = {
        threat: robbench.certify("m", threat=threat, method=spec, limit=6, out=own)
        for threat in ("l2:0.1", "l2:inf")
    }
    inside, endless = found.values()
    assert inside["radius"].equals(endless["radius"])
    assert not endless["certified"].any()
    (summary,) = endless.attrs["summary"]
    right = endless["predicted"] == endless["label"]
    assert summary["certified_radius_p50"] == endless["radius"].where(right, 0.0).median()
    assert (summary["resolution"], summary["distance_p50"]) == (None, None)


@pytest.mark.parametrize("threat", ["linf:0.02", "linf:inf"])
def test_the_time_left_is_told_from_the_first_sample_on(own, threat):
    """The job is shown before it: an estimate takes a share at two times."""
    seen = []
    robbench.certify(
        "m", threat=threat, limit=2, out=own, progress=lambda share, text: seen.append(share)
    )
    assert seen == [0.0, 0.5, 1.0]
