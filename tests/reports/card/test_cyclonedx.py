"""The bill of materials: strictly valid by the published schema, and the same every time."""

from __future__ import annotations

import json
import re

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from robbench.reports.card.cyclonedx import bom


@pytest.mark.parametrize("weights", [True, False])
@pytest.mark.parametrize("certified", [None, 0.25])
def test_the_published_schema_takes_it(subject, weights, certified):
    """CycloneDX 1.6, strictly; with and without a file of weights."""
    one = subject(certified=certified, **({} if weights else {"weights": None}))
    document = bom(one)
    errors = JsonStrictValidator(SchemaVersion.V1_6).validate_str(
        json.dumps(document), all_errors=True
    )
    assert list(errors or ()) == []
    assert ("hashes" in document["metadata"]["component"]) == weights


def test_a_wrong_document_is_noticed(subject):
    """The validator of this test does refuse."""
    document = bom(subject())
    document["metadata"]["component"]["modelCard"]["accuracy"] = "1"
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document)) is not None


def test_metrics_keep_all_digits(subject):
    """As texts, with both bounds; a distance has none."""
    one = subject()
    card = bom(one)["metadata"]["component"]["modelCard"]
    found = card["quantitativeAnalysis"]["performanceMetrics"]
    expected = [metric for each in one.evaluations for metric in each.metrics]
    assert [(m["type"], float(m["value"])) for m in found] == [(m.name, m.value) for m in expected]
    for mine, metric in zip(found, expected, strict=True):
        bounds = mine.get("confidenceInterval")
        low, high = bounds.values() if bounds else ("nan", "nan")
        assert (float(low), float(high)) == pytest.approx(
            (metric.low, metric.high) if bounds else (float("nan"),) * 2, abs=0, nan_ok=True
        )
    assert "linf:0.15" in found[1]["slice"]


def test_references_lead_somewhere_and_tools_are_named(subject):
    """The model's data sets are components; robbench and torch are tools."""
    document = bom(subject())
    (data,) = document["components"]
    model = document["metadata"]["component"]
    assert model["modelCard"]["modelParameters"]["datasets"] == [{"ref": data["bom-ref"]}]
    assert document["dependencies"] == [{"ref": model["bom-ref"], "dependsOn": [data["bom-ref"]]}]
    names = [tool["name"] for tool in document["metadata"]["tools"]["components"]]
    assert {*names} == {"robbench", "torch"}


def test_equal_runs_make_equal_documents(subject):
    """No clock and no chance: the time is the run's, and other numbers make another serial."""
    one = subject()
    assert bom(one) == bom(one)
    assert bom(one)["metadata"]["timestamp"] == one.evaluations[1].facts["finished_at"]
    other = bom(one._replace(name="other"))
    assert other["serialNumber"] != bom(one)["serialNumber"]
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", other["serialNumber"])
