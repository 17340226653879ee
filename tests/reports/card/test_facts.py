"""What is published of a run: numbers counted again, nothing of the machine."""

from __future__ import annotations

import json

import pytest
from scipy.stats import binomtest

from robbench.reports.card.cyclonedx import bom
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
