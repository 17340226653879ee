"""What a check is: a question about an attack, answered with a figure, a threshold and samples.

Each check's docstring gives the figures its threshold rests on: those of good models (undefended
and adversarially trained CNNs, a fully connected and a linear network on digits, in linf, l2 and
l1) and those of models and attacks that must be flagged, as `robbench check --self-test` prints
them. Thresholds are between the two, and are 0 where one case is too many.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from robbench.checks.evidence import Evidence, Skip
from robbench.core.errors import UserError
from robbench.statistics.proportions import clopper_pearson

Severity = Literal["info", "warning", "error"]
Verdict = Literal["pass", "fail", "unclear", "skipped"]
FEW = 10  # a share of fewer samples says nothing
LUCK = 2  # samples that a failure takes: a single one can be luck (as in `engine/flags.py`)

NAN = float("nan")


class Reading(NamedTuple):
    """A check's measurement: `figure` against `threshold`; failed None: it cannot tell."""

    failed: bool | None
    figure: float
    threshold: float
    text: str  # one line: what the figure is, and what to do about a failure
    evidence: tuple[int, ...] = ()  # ids of the samples that speak against the attack
    severity: Severity | None = None  # where the figure decides it, in place of the check's own


@dataclasses.dataclass(frozen=True)
class Check:
    """A registered check.

    cost: forwards and backwards per sample at most, 0 where a run's rows suffice. Without a run the
    attack in question is run first, which is not counted.
    """

    name: str
    severity: Severity
    ask: Callable[[Evidence], Reading]
    source: str  # paper, or item of a checklist
    cost: int = 0

    @property
    def family(self) -> str:
        """The file it lives in."""
        return self.ask.__module__.rpartition(".")[2]


@dataclasses.dataclass(frozen=True)
class Finding:
    """A check's answer: a row of the checks table. Without an answer its figures are NaN."""

    check: str
    family: str
    severity: Severity
    verdict: Verdict
    text: str
    figure: float
    threshold: float
    evidence: tuple[int, ...]
    source: str
    n_samples: int
    n_forward: int
    n_backward: int


def share(of: Tensor, among: Tensor) -> float:
    """Share of the samples `among` [N] bool that are also `of`, in [0,1]; 0 when there are none."""
    return float((of & among).sum()) / max(int(among.sum()), 1)


def counted(
    e: Evidence, bad: Tensor, among: Tensor, threshold: float, text: str, *, sure: bool = False
) -> Reading:
    """Fails when more than a share `threshold` of the samples `among`, and at least LUCK, are bad.

    bad, among [N] bool. Unclear with fewer than FEW samples, unless none may be bad or most are.
    `sure`: fail only where the share exceeds the threshold with 95 % confidence (Clopper and
    Pearson); for thresholds near what good models have.
    """
    bad = bad & among
    count, figure = int(bad.sum()), share(bad, among)
    n = int(among.sum())
    least = clopper_pearson(count, n, 0.9)[0] if sure and n else figure
    failed = count >= LUCK and least > threshold
    unclear = n < FEW and not (failed and (threshold == 0 or (count >= FEW / 2 and figure > 0.5)))
    if unclear:
        text = f"{count} of only {n}, too few samples to tell: {_said(text, advise=False)}"
        return Reading(None, figure, threshold, text, e.ids(bad))
    text = f"{count} of {n} {_said(text, advise=failed)}"
    return Reading(failed, figure, threshold, text, e.ids(bad))


def none_may_be(e: Evidence, bad: Tensor, text: str) -> Reading:
    """Fails when any sample is bad; bad [N] bool."""
    count, n = int(bad.sum()), len(bad)
    text = f"{count} of {n} {_said(text, advise=count > 0)}"
    return Reading(count > 0, count / max(n, 1), 0.0, text, e.ids(bad))


def _said(text: str, *, advise: bool) -> str:
    """A text `what: what to do about it`, whose advice is for failures only."""
    return text if advise else text.partition(": ")[0]


def _nobody(n: int, name: str) -> None:
    """Ignore the progress."""


def run_checks(
    checks: Sequence[Check], e: Evidence, watch: Callable[[int, str], None] = _nobody
) -> list[Finding]:
    """The findings of some checks, in their order; a check without enough evidence is skipped.

    `watch(n, name)` is called before each check with the number of checks done. The evidence's
    model should be frozen.
    """
    found = []
    for n, check in enumerate(checks):
        watch(n, check.name)
        began = e.n_forward, e.n_backward
        reading, verdict = _ask(check, e)
        found.append(
            Finding(
                check=check.name,
                family=check.family,
                severity=reading.severity or check.severity,
                verdict=verdict,
                text=reading.text,
                figure=reading.figure,
                threshold=reading.threshold,
                evidence=reading.evidence,
                source=check.source,
                n_samples=len(e.split),
                n_forward=e.n_forward - began[0],
                n_backward=e.n_backward - began[1],
            )
        )
    return found


def _ask(check: Check, e: Evidence) -> tuple[Reading, Verdict]:
    try:
        reading = check.ask(e)
    except (Skip, UserError) as reason:  # such as an attack that does not fit the data
        return Reading(None, NAN, NAN, str(reason)), "skipped"
    except RuntimeError as error:  # a model may refuse to be differentiated
        if isinstance(error, torch.OutOfMemoryError):
            raise
        first = str(error).strip().partition("\n")[0]
        text = f"the model raised {type(error).__name__}: {first}"
        return Reading(None, NAN, NAN, text), "skipped"
    return reading, _verdict(reading.failed)


def _verdict(failed: bool | None) -> Verdict:
    return "unclear" if failed is None else "fail" if failed else "pass"
