"""What a check is: a question to an attack's evidence, with an answer that names its figure, threshold and samples.

Thresholds rest on figures, which each check's docstring gives: of good models (undefended and
adversarially trained CNNs, a fully connected and a linear network on digits, in linf, l2 and l1)
and of models and attacks that must be flagged, as `robbench check --self-test` prints them. They
lie between the two, and are 0 where one case is too many.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor

from robbench.core.errors import UserError
from robbench.statistics.proportions import clopper_pearson

if TYPE_CHECKING:
    from robbench.checks.evidence import Evidence

Severity = Literal["info", "warning", "error"]
Verdict = Literal["pass", "fail", "unclear", "skipped"]
FEW = 10  # with fewer samples that could speak against the attack a share of them says nothing
LUCK = 2  # a single sample can be luck (as `engine/flags.py`)

NAN = float("nan")


class Skip(Exception):  # noqa: N818  # not an error: the reason why a check has no answer
    """What a check needs is not there; the message is the reason."""


class Reading(NamedTuple):
    """What a check saw. `failed` is None where it cannot tell; `figure` is held against `threshold`."""

    failed: bool | None
    figure: float
    threshold: float
    text: str  # one line: what the figure is, and what to do about a failure
    evidence: tuple[int, ...] = ()  # ids of the samples that speak against the attack


@dataclasses.dataclass(frozen=True)
class Check:
    """A registered check; `cost`: forwards and backwards per sample at most, 0 where a run's rows suffice.

    Without a run, the attack in question is to be run first; that is not counted.
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
    """A check's answer: a row of the checks table. Figures of a check without an answer are NaN."""

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
    """How many of the samples `among` [N] bool are also `of`, in [0,1]; 0 when there are none."""
    return float((of & among).sum()) / max(int(among.sum()), 1)


def counted(
    e: Evidence, bad: Tensor, among: Tensor, threshold: float, text: str, *, sure: bool = False
) -> Reading:
    """Fails when more than a share `threshold` of the samples `among` are bad, LUCK of them at least.

    bad, among [N] bool. Unclear with fewer than FEW samples, unless none may be bad or most of them
    are. `sure`: the share is above the threshold only if it is so with 95 % confidence (Clopper and
    Pearson), for thresholds near what good models have.
    """
    bad = bad & among
    count, figure = int(bad.sum()), share(bad, among)
    n = int(among.sum())
    least = clopper_pearson(count, n, 0.9)[0] if sure and n else figure
    failed = count >= LUCK and least > threshold
    unclear = n < FEW and not (failed and (threshold == 0 or (count >= FEW / 2 and figure > 0.5)))
    said = (
        f"{count} of {n} {text}"
        if not unclear
        else f"{count} of only {n}, too few samples to tell: {text}"
    )
    return Reading(None if unclear else failed, figure, threshold, said, e.ids(bad))


def _nobody(n: int, name: str) -> None:
    """Watches nothing."""


def run_checks(
    checks: Sequence[Check], e: Evidence, watch: Callable[[int, str], None] = _nobody
) -> list[Finding]:
    """The findings of some checks in their order; those that the evidence does not suffice for are skipped.

    `watch(n, name)` hears before each check how many are done. The evidence's model should be
    frozen.
    """
    found = []
    for n, check in enumerate(checks):
        watch(n, check.name)
        began = e.forwards, e.backwards
        try:
            reading, verdict = (answer := check.ask(e)), _verdict(answer.failed)
        except (Skip, UserError) as reason:  # such as an attack that does not fit the data
            reading, verdict = Reading(None, NAN, NAN, str(reason)), "skipped"
        except RuntimeError as error:  # a model may refuse to be differentiated
            if isinstance(error, torch.OutOfMemoryError):
                raise
            first = str(error).strip().partition("\n")[0]
            reading, verdict = (
                Reading(None, NAN, NAN, f"the model raised {type(error).__name__}: {first}"),
                "skipped",
            )
        found.append(Finding(
            check.name, check.family, check.severity, verdict, reading.text, reading.figure, reading.threshold, reading.evidence,
            check.source, len(e.split), e.forwards - began[0], e.backwards - began[1],
        ))  # fmt: skip
    return found


def _verdict(failed: bool | None) -> Verdict:
    return "unclear" if failed is None else "fail" if failed else "pass"
