"""What is known of each sample: its record while it is attacked, its verdict when it is done."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from torch import Tensor

from robbench.core.status import NON_FINITE, OK, UNCONFIRMED, UNFINISHED
from robbench.engine.progress import EntryProgress, Work
from robbench.engine.schedule import Trial

CLEAN, NOTHING, REPLAY = -1, -2, -3
"""Entries that are no attack: wrong from the start, not broken, broken by a stored point."""


class JudgedRow(NamedTuple):
    """The re-check of one point, as plain values in the order of `verify.Judged`."""

    pred: int
    margin: float
    pmargin: float
    adversarial: bool
    linf: float
    l2: float
    l1: float
    l0: float
    l0px: float
    size: float  # in the threat's norm
    fits: bool


class Verdict(NamedTuple):
    """What is known of one sample, at one of the run's budgets, when it is done."""

    sample: int
    clean_pred: int
    clean_margin: float
    clean_pmargin: float
    adv_pred: int
    adv_margin: float
    adv_pmargin: float
    adversarial: bool
    linf: float
    l2: float
    entry: int  # position in the cascade of what broke it, or CLEAN, NOTHING, REPLAY
    variant: int
    step: int
    n_forward: int
    n_backward: int
    status: int
    l1: float = 0.0
    l0: float = 0.0
    l0px: float = 0.0
    eps_index: int = 0  # position of the budget among the run's
    known: bool = True  # whether adv_margin is the lowest met; else it is the clean input's
    n_nonfinite: int = 0  # answers with NaN or inf in logits or gradient, at all budgets together
    n_zero_gradient: int = 0  # gradients that were exactly zero, likewise
    n_unanswered: int = 0  # n_nonfinite of the budgets up to this one
    target: int = -1  # the class to reach, -1 when any other will do
    clean_wrong: bool = False  # misclassified without an attack, which is no success here


class Attempt(NamedTuple):
    """What one trial came to for one sample."""

    sample: int
    trial: Trial
    x: Tensor  # [*] worst point
    judged: JudgedRow | None  # what the model says of it; None where it was not asked again
    margin: float  # at x, the lowest the attack has met
    step: int = -1  # of the first success; -1 = none, or not known
    n_forward: int = 0
    n_backward: int = 0
    n_nonfinite: int = 0
    n_zero_gradient: int = 0
    work: float = 1.0  # steps, weighted by their time
    shown: bool = True  # whether the attack has shown a point that it tried
    truncated: bool = False  # ended for want of queries


class Outcome(NamedTuple):
    """How a sample ended at one budget, before its worst point is looked at again."""

    found: bool
    x: Tensor | None  # worst point; None = the clean input
    judged: JudgedRow | None  # its re-check, when that has been made
    entry: int
    variant: int
    step: int
    n_forward: int
    n_backward: int
    status: int
    source: tuple[int, int]  # entry and variant that came to x
    known: bool = True  # see Verdict
    n_unanswered: int = 0  # likewise


@dataclasses.dataclass
class Record:
    """The running account of one sample."""

    margin: float
    x: Tensor | None = None  # worst point so far; None = the clean input
    source: tuple[int, int] = (NOTHING, -1)  # entry and variant that came to it
    judged: JudgedRow | None = None  # its re-check, of a point that broke the sample
    found: bool = False
    entry: int = NOTHING
    variant: int = -1
    step: int = -1
    n_forward: int = 1
    n_recheck: int = 0  # of these forwards, those that looked at a claimed point again
    n_backward: int = 0
    n_nonfinite: int = 0
    n_zero_gradient: int = 0  # gradients that were exactly zero
    unconfirmed: int = 0  # claimed successes that the re-check refused
    unfinished: bool = False
    # The lowest eps_index at which a stored point breaks the sample, and that point.
    replayed: tuple[int, Tensor, JudgedRow] | None = None
    outcomes: list[Outcome] = dataclasses.field(default_factory=list)  # of the decided budgets
    work: float = 0.0  # of attacks it has been through: what the progress bar counts
    seen: bool | None = None  # whether any attack has shown a point it tried; None before the first

    def add(self, attempt: Attempt) -> None:
        """Count what another trial has cost."""
        self.n_forward += attempt.n_forward
        self.n_backward += attempt.n_backward
        self.n_nonfinite += attempt.n_nonfinite
        self.n_zero_gradient += attempt.n_zero_gradient
        self.work += attempt.work
        self.seen = bool(self.seen) or attempt.shown

    def hit(
        self, entry: int, variant: int, step: int, x: Tensor | None, judged: JudgedRow | None
    ) -> None:
        """A confirmed success: what, where and how."""
        self.found = True
        self.entry = entry
        self.variant = variant
        self.step = step
        self.x = x
        self.judged = judged

    def close(self) -> None:
        """Decide the sample at the next budget: it is broken, or nothing so far has broken it."""
        self.outcomes.append(
            Outcome(
                found=self.found,
                x=self.x,
                judged=self.judged,
                entry=self.entry,
                variant=self.variant,
                step=self.step,
                n_forward=self.n_forward,
                n_backward=self.n_backward,
                status=self.status,
                source=self.source,
                known=self.found or self.seen is not False,
                n_unanswered=self.n_nonfinite,
            )
        )

    @property
    def n_asked(self) -> int:
        """Forwards without re-checks: what a limit of queries counts."""
        return self.n_forward - self.n_recheck

    @property
    def status(self) -> int:
        """Why the verdict is to be doubted, if at all; see `core/status.py`."""
        if self.unfinished:
            return UNFINISHED
        if self.unconfirmed:
            return UNCONFIRMED
        return NON_FINITE if self.n_nonfinite else OK


class Update(NamedTuple):
    """What a run has decided since its last update, and how far it is."""

    verdicts: list[Verdict]  # of samples decided since, one per budget
    points: list[Tensor | None]  # worst point of each, None = the clean input; empty unless kept
    progress: float  # share of all work that is done, at most
    entries: list[EntryProgress]  # empty until every clean input has been evaluated
    disagreements: int  # so far: see `Cascade.run`
    work: Work = Work()  # what is done and what is left
