"""A bill of materials of a model, with its robustness: CycloneDX, an ML-BOM."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

import robbench
from robbench.reports.card.facts import (
    CERTIFIED,
    Evaluation,
    Metric,
    Subject,
    attack_text,
    samples_text,
)

VERSION = "1.6"
_MODEL = "model"


def bom(subject: Subject) -> dict[str, Any]:
    """A CycloneDX 1.6 document: the model, its metrics with intervals, the data, the tools.

    Equal runs make equal documents: the time is that of the last run, the serial number a hash of
    the rest. Values of metrics are texts there, with all digits; a slice names threat model,
    attack, data and run. Specification: https://cyclonedx.org/docs/1.6/json/.
    """
    data = _data(subject)
    document = {
        "$schema": f"http://cyclonedx.org/schema/bom-{VERSION}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": VERSION,
        "version": 1,
        "metadata": {
            "timestamp": subject.last,
            "tools": {"components": _tools(subject)},
            "component": _model(subject, list(data)),
        },
        "components": list(data.values()),
        "dependencies": [{"ref": _MODEL, "dependsOn": list(data)}],
    }
    name = json.dumps(document, sort_keys=True)
    serial = uuid.uuid5(uuid.NAMESPACE_URL, f"urn:robbench:{name}")
    return {**document, "serialNumber": serial.urn}


def _model(subject: Subject, data: list[str]) -> dict[str, Any]:
    weights = subject.weights
    hashes = [{"alg": "SHA-256", "content": weights.sha256}] if weights else []
    about = {"model_hash": subject.hash, "outputs": subject.outputs}
    about |= {"weights": weights.name if weights else None}
    limits = [note for one in subject.evaluations for note in one.notes]
    card = {
        "modelParameters": {
            "approach": {"type": "supervised"},
            "task": "classification",
            "modelArchitecture": subject.architecture,
            "datasets": [{"ref": ref} for ref in data],
        },
        "quantitativeAnalysis": {
            "performanceMetrics": [
                _metric(one, metric)
                for one in subject.evaluations
                for metric in one.metrics
                if metric.value is not None
            ]
        },
    }
    if limits:
        card["considerations"] = {"technicalLimitations": list(dict.fromkeys(limits))}
    return {
        "type": "machine-learning-model",
        "bom-ref": _MODEL,
        "name": subject.name,
        "version": subject.hash,
        **({"hashes": hashes} if hashes else {}),
        "modelCard": card,
        "properties": [
            *_properties(about),
            *(item for one in subject.evaluations for item in _settings(one)),
        ],
    }


def _metric(one: Evaluation, metric: Metric) -> dict[str, Any]:
    facts = one.facts
    where = f"{samples_text(facts)}, {facts['data']['samples']} samples, run {facts['run_id']}"
    about = [facts["threat"]["text"], attack_text(facts), where]
    if metric.name == "clean accuracy":
        about = [where]
    elif metric.name in CERTIFIED:
        about = [facts["threat"]["text"], where]
    found: dict[str, Any] = {
        "type": metric.name,
        "value": repr(metric.value),
        "slice": ", ".join(about),
    }
    if metric.low is not None:
        bounds = {"lowerBound": repr(metric.low), "upperBound": repr(metric.high)}
        found["confidenceInterval"] = bounds
    return found


def _settings(one: Evaluation) -> list[dict[str, str]]:
    """What an evaluation was made with, as properties."""
    facts, run = one.facts, one.facts["run_id"]
    settings = {f"run:{run}:attack:{i}": text for i, text in enumerate(facts["attack"]["settings"])}
    settings |= {f"run:{run}:seed": facts["attack"]["seed"]}
    settings |= {f"run:{run}:checks": facts["checks"]["state"]}
    if facts["audit"]:
        settings[f"run:{run}:audit"] = json.dumps(facts["audit"])
    return _properties(settings)


def _data(subject: Subject) -> dict[str, dict[str, Any]]:
    """The data sets of the runs as components, by their references."""
    found: dict[str, dict[str, Any]] = {}
    for one in subject.evaluations:
        data = one.facts["data"]
        ref = f"data-{data['hash']}"
        about = {name: data[name] for name in ("split", "subset", "samples", "hash")}
        contents = {"properties": _properties(about)}
        found[ref] = {
            "type": "data",
            "bom-ref": ref,
            "name": data["data"],
            "version": data["hash"],
            "data": [{"type": "dataset", "name": data["data"], "contents": contents}],
        }
    return found


def _tools(subject: Subject) -> list[dict[str, str]]:
    """What wrote the document, then what the runs were made with, each once."""
    versions = [one.facts["versions"] for one in subject.evaluations]
    made = [("application", "robbench", robbench.__version__)]
    made += [("application", "robbench", each["robbench"]) for each in versions]
    made += [("library", "torch", each["torch"]) for each in versions]
    return [
        {"type": kind, "name": name, "version": version}
        for kind, name, version in dict.fromkeys(made)
    ]


def _properties(values: Mapping[str, Any]) -> list[dict[str, str]]:
    return [
        {"name": f"robbench:{name}", "value": str(value)}
        for name, value in values.items()
        if value is not None
    ]
