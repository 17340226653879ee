"""What is published of a run: numbers counted again, nothing of the machine."""

from __future__ import annotations

import json

import pytest
from scipy.stats import binomtest

from robbench.analysis.comparison import KINDS, compare_read
from robbench.reports.card.cyclonedx import bom
from robbench.reports.card.facts import evaluation
from robbench.reports.card.in_toto import statement
from robbench.reports.card.markdown import results, section


def test_metrics_are_counted_from_the_samples(subject, make_samples):
    """Rates by hand, intervals by SciPy; a certified share has one, too."""
    found = {metric.name: metric for metric in subject(certified=0.25).evaluations[0].metrics}
    samples = make_samples(40, 1, 0.4)
    counts = {
        "clean accuracy": sum(row["clean_correct"] for row in samples),
        "robust accuracy": sum(row["robust"] for row in samples),
        "certified accuracy": 10,
    }
    assert list(found) == list(counts)
    for name, k in counts.items():
        bounds = binomtest(k, 40).proportion_ci(0.95, "wilson")
        assert found[name].value == k / 40
        assert found[name][2:] == pytest.approx(tuple(bounds), abs=1e-12)


def test_a_run_without_a_budget_has_a_distance(subject):
    """And no robust accuracy; eps is null, as JSON has no infinity."""
    endless = subject().evaluations[1]
    assert [metric.name for metric in endless.metrics] == ["clean accuracy", "median l2 distance"]
    assert endless.metrics[1].value == 0.53125
    assert endless.facts["threat"]["eps"] is None
    assert endless.facts["counts"]["n_robust"] is None


def test_a_certified_radius_is_no_attacks(subject):
    """Beside the distance, in each form of the card."""
    one = subject(radius=0.125)
    assert one.evaluations[1].metrics[2] == ("median certified radius", 0.125, None, None)
    metrics = {metric["type"]: metric["args"] for metric in results(one)[1]["metrics"]}
    assert "attack" in metrics["median_l2_distance"]
    assert "attack" not in metrics["median_certified_radius"]
    assert metrics["median_certified_radius"]["threat"] == "l2:inf"
    assert "| 0.531 | 0.125 |" in section(one)
    card = bom(one)["metadata"]["component"]["modelCard"]["quantitativeAnalysis"]
    slices = {each["type"]: each["slice"] for each in card["performanceMetrics"]}
    assert "pgd" not in slices["median certified radius"]


def test_a_target_has_its_own_words(subject):
    """The share of samples that did not reach it is no robust accuracy."""
    found = subject(target="3", threat="linf:0.15 -> 3").evaluations[0]
    assert found.metrics[1].name == "target not reached"
    assert found.facts["threat"]["target"] == "3"


def test_warnings_and_checks_are_published(subject):
    """A failed check, a flag and absent points: as facts, and as sentences."""
    check = {"check": "no-gain", "verdict": "fail", "severity": "error", "text": "weak attack"}
    flags = json.dumps([{"name": "vanishing", "text": "gradients are zero"}])
    found = subject(checks=(check,), points=False, flags=flags).evaluations[0]
    assert found.facts["checks"]["failed"] == [{"name": "no-gain", "text": "weak attack"}]
    assert found.facts["flags"] == [{"name": "vanishing", "text": "gradients are zero"}]
    for part in ("weak attack", "gradients are zero", "--store-points"):
        assert any(part in note for note in found.notes)


def test_samples_and_limits_are_said_wherever_a_number_is(subject):
    """Numbers of a part of the data, or of an attack cut short, do not pass for others."""
    limits = {"subset": "first=40", "max_queries": 2, "precision": "bf16", "seed": 3}
    one = subject(certified=0.25, data="digits", split="test", attack="pgd", **limits)
    attack, samples = "pgd within 2 queries, bf16, seed 3", "digits test first=40"
    assert f"| {attack} | {samples} |" in section(one)
    metrics = {metric["type"]: metric["args"] for metric in results(one)[0]["metrics"]}
    assert {args["subset"] for args in metrics.values()} == {"first=40"}
    assert metrics["robust_accuracy"]["attack"] == attack
    assert "attack" not in metrics["certified_accuracy"]
    card = bom(one)["metadata"]["component"]["modelCard"]["quantitativeAnalysis"]
    clean, robust, certified = (each["slice"] for each in card["performanceMetrics"][:3])
    assert clean.startswith(f"{samples}, 40 samples")
    assert robust.startswith(f"linf:0.15, {attack}, {samples}")
    assert certified.startswith(f"linf:0.15, {samples}")


def test_what_was_not_attacked_to_the_end_is_counted(subject, make_samples):
    """Beside the number in the metadata, which is an upper bound then."""
    one = subject()
    facts = one.evaluations[0].facts
    facts["counts"]["n_unfinished"] = 7
    clean, robust = results(one)[0]["metrics"]
    assert robust["args"]["unfinished"] == 7
    assert "unfinished" not in clean["args"]


def test_rejections_are_published(stored, make_samples):
    """Rejected points count as robust, so their share belongs to the number."""
    samples = make_samples(40, 1, 0.4)
    for i, row in enumerate(samples):
        row |= {"clean_rejected": i < 4, "adv_rejected": i < 10}
    run = stored("aaaa11111111", samples)
    (row,) = compare_read([run], allow=KINDS).rows
    found = evaluation(run, row, (), points=True)
    assert found.facts["rejections"] == {
        "clean": row["clean_rejection_rate"],
        "under_attack": row["adv_rejection_rate"],
    }
    assert found.facts["rejections"]["clean"] == 0.1
    assert any(note.startswith("rejected, clean -> under attack: 10.0%") for note in found.notes)


@pytest.mark.parametrize(
    "changes",
    [
        {"norm": "corruption:fog", "eps": 3.0, "threat": "corruption:fog@3"},
        {"attack_success_rate": 0.0},
    ],
)
def test_points_are_missed_where_they_would_prove_something(subject, changes):
    """Not of a corruption, which `verify` makes again, nor where no attack broke anything."""
    found = subject(points=False, **changes).evaluations[0]
    assert not any("--store-points" in note for note in found.notes)


def test_nothing_of_the_machine_is_published(subject, secret):
    """Neither folders, command lines, environment, tags nor names of classes, in any format."""
    found = subject(**secret)
    texts = [
        section(found),
        json.dumps(results(found)),
        json.dumps(statement(found, found.weights)),
        json.dumps(bom(found)),
    ]
    for text in texts:
        assert "home" not in text
        assert "secret" not in text
        assert "t.csv" in text
