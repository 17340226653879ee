"""An in-toto statement about the robustness of a file of weights."""

from __future__ import annotations

import re
from typing import Any

import robbench
from robbench.reports.card.facts import Subject, Weights

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "urn:robbench:adversarial-robustness:v1"


def statement(subject: Subject, weights: Weights) -> dict[str, Any]:
    """An unsigned Statement, version 1: the subject is the file of weights, by its SHA-256.

    The predicate has a type of its own. The vetted test-result/v0.1 wants PASSED or FAILED, which
    is for a gate to say, and has no place for a number or an interval. The URI is a URN: types need
    not be registered, nor lead anywhere. Keys are in lowerCamelCase, numbers exact; a consumer
    ignores keys that it does not know. Specification:
    https://github.com/in-toto/attestation/tree/main/spec/v1.
    """
    predicate = {
        "tool": {"name": "robbench", "version": robbench.__version__},
        "model": {
            "name": subject.name,
            "architecture": subject.architecture,
            "hash": subject.hash,
            "outputs": subject.outputs,
        },
        "evaluations": [one.values() for one in subject.evaluations],
    }
    return {
        "_type": STATEMENT,
        "subject": [{"name": weights.name, "digest": {"sha256": weights.sha256}}],
        "predicateType": PREDICATE,
        "predicate": _camel(predicate),
    }


def _camel(value: Any) -> Any:
    """Values with the keys of dicts in lowerCamelCase."""
    if isinstance(value, dict):
        return {
            re.sub(r"_(\w)", lambda found: found[1].upper(), key): _camel(inside)
            for key, inside in value.items()
        }
    return [_camel(inside) for inside in value] if isinstance(value, list) else value
