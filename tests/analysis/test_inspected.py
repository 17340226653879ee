"""The record of an inspection."""

from __future__ import annotations

import dataclasses
import json

from robbench.analysis.forecast import Forecast, Part
from robbench.analysis.inspected import Finding, Inspected

FOUND = Inspected(
    model="mine",
    data=None,
    split=None,
    shape=(3, 4, 4),
    classes=("a", "b"),
    samples=64,
    of=64,
    parameters=10,
    weight_bytes=40,
    dtypes=("float32",),
    normalisation=(),
    access="white-box",
    correct=None,
    clean_accuracy=None,
    clean_accuracy_low=None,
    clean_accuracy_high=None,
    device="cpu",
    rows=32,
    width=128,
    seconds_forward=1e-6,
    seconds_backward=1e-6,
    memory_forward=None,
    memory_backward=4.0,
    memory_counted=True,
    threat="linf:0.1",
    attack="apgd",
    forecast=Forecast(5, (Part("apgd", 2.0, 1e-3),), (), "cpu"),
    findings=(Finding("random", "warning", "text", figures={"samples": 3}),),
)


def test_errors_fail() -> None:
    """A warning does not, an error does."""
    assert not FOUND.failed
    error = Finding("refused", "error", "text")
    assert dataclasses.replace(FOUND, findings=(*FOUND.findings, error)).failed


def test_plain_values() -> None:
    """JSON takes all fields; findings and the forecast have names."""
    plain = json.loads(json.dumps(FOUND.fields()))
    assert {*plain} == {field.name for field in dataclasses.fields(FOUND)} | {"failed"}
    assert plain["forecast"]["queries_at_most"] == 10
    assert plain["findings"][0]["figures"] == {"samples": 3}
