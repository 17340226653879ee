"""What `robbench inspect` finds of a model: plain values, no model."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NamedTuple

from robbench.analysis.forecast import Forecast

Severity = Literal["error", "warning", "note"]


class Finding(NamedTuple):
    """Something that does not fit.

    An error: attacks refuse the model, or would attack another model than the one that is meant. A
    note is no doubt, it says what was loaded.
    figures: the numbers that it is read from. remedy: what to do; '' where the text says it.
    """

    name: str
    severity: Severity
    text: str
    remedy: str = ""
    figures: dict[str, Any] = {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inspected:
    """A model, what it costs, and what does not fit.

    data: None where only the shape of images was known. access: what the model shows, white-box
    (gradients), score-based or decision-based. samples: how many were looked at, of `of`
    that an attack would take. correct: classified right, None without labels. seconds_*: per
    sample, of a forward and of what a backward to the input takes beyond it, in batches of `rows`
    as attacks ask; `width` samples are in flight. memory_*: bytes per sample beyond weights and
    inputs, at the peak of the allocator; if `memory_counted`, of the largest layer, and of what
    autograd keeps for a backward. None: not known.
    """

    model: str
    data: str | None
    split: str | None
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    samples: int
    of: int
    parameters: int
    weight_bytes: int
    dtypes: tuple[str, ...]
    normalisation: tuple[dict[str, Any], ...]
    access: str
    correct: int | None
    clean_accuracy: float | None
    clean_accuracy_low: float | None
    clean_accuracy_high: float | None
    device: str
    rows: int
    width: int
    seconds_forward: float | None
    seconds_backward: float | None
    memory_forward: float | None
    memory_backward: float | None
    memory_counted: bool
    threat: str
    attack: str
    forecast: Forecast | None
    findings: tuple[Finding, ...]

    @property
    def failed(self) -> bool:
        """Whether there is a finding of severity error."""
        return any(finding.severity == "error" for finding in self.findings)

    def fields(self) -> dict[str, Any]:
        """All of it as plain values."""
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        forecast = None if self.forecast is None else self.forecast.fields()
        findings = [finding._asdict() for finding in self.findings]
        return {**plain, "forecast": forecast, "findings": findings, "failed": self.failed}
