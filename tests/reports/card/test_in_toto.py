"""The statement: read and validated by in-toto's own package, and by the rules of its spec."""

from __future__ import annotations

import json
import re

from google.protobuf import json_format
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement

from robbench.guide import read_page
from robbench.reports.card.in_toto import statement


def test_in_totos_package_takes_it(subject):
    """Through protobuf, with nothing lost; a sha256 of 64 digits is the subject."""
    one = subject()
    document = json.loads(json.dumps(statement(one, one.weights), allow_nan=False))
    parsed = json_format.ParseDict(document, statement_pb2.Statement())
    Statement.copy_from_pb(parsed).validate()
    assert json_format.MessageToDict(parsed) == document
    (about,) = parsed.subject
    assert (about.name, dict(about.digest)) == ("model.safetensors", {"sha256": one.weights.sha256})


def test_the_rules_of_the_specification(subject):
    """spec/v1 of in-toto/attestation: keys, URIs in lower case, times in UTC with Z, camelCase."""
    one = subject()
    document = statement(one, one.weights)
    assert set(document) == {"_type", "subject", "predicateType", "predicate"}
    assert document["_type"] == "https://in-toto.io/Statement/v1"
    assert re.fullmatch(r"[a-z][a-z0-9+.-]*:\S+:v\d+", document["predicateType"])
    keys, times = set(), []

    def walk(value):
        for key, inside in value.items() if isinstance(value, dict) else ():
            keys.add(key)
            times.extend([inside] if key.endswith("At") else [])
            walk(inside)
        for inside in value if isinstance(value, list) else ():
            walk(inside)

    walk(document["predicate"])
    assert all(re.fullmatch(r"[a-z][A-Za-z0-9]*", key) for key in keys)
    assert len(times) == 4
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", text) for text in times)


def test_the_numbers_are_exact(subject):
    """Value and interval of each metric, as they are in the run's row."""
    one = subject()
    found = statement(one, one.weights)["predicate"]["evaluations"][0]
    metric = one.evaluations[0].metrics[1]
    assert found["results"][1] == {
        "name": "robust accuracy",
        "value": metric.value,
        "interval": {"low": metric.low, "high": metric.high, "level": 0.95, "method": "wilson"},
    }
    assert found["data"]["samples"] == 40
    assert found["attack"]["seed"] == 0


def test_the_guide_has_every_key(subject):
    """Whoever reads a predicate finds its keys in the manual, and no others."""
    one = subject()
    found = statement(one, one.weights)["predicate"]["evaluations"][0]
    page = read_page("model-cards").text.split("## The predicate\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(found)
