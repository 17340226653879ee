"""What is known of each sample: the running account while it is attacked, and the verdict when it is done."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from torch import Tensor

from robbench.core.status import NON_FINITE, OK, UNCONFIRMED, UNFINISHED

CLEAN, NOTHING, REPLAY = -1, -2, -3
"""Entries that are no attack: wrong from the start, nothing broke it, a stored point of another run did."""


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
    forwards: int
    backwards: int
    status: int
    l1: float = 0.0
    l0: float = 0.0
    eps_index: int = 0  # position of the budget among the run's
    known: bool = True  # whether adv_margin is the lowest met, not that of the clean input for want of any other
    nonfinite: int = 0  # answers with NaN or inf in logits or gradient, at all budgets together
    zero_gradients: int = 0  # gradients that were exactly zero, likewise


class Outcome(NamedTuple):
    """How a sample ended at one budget, before its worst point is looked at again."""

    found: bool
    x: Tensor | None  # worst point; None = the clean input
    judged: JudgedRow | None  # its re-check, when that has been made
    entry: int
    variant: int
    step: int
    forwards: int
    backwards: int
    status: int
    source: tuple[int, int]  # entry and variant that came to x
    known: bool = True  # see Verdict


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
    forwards: int = 1
    backwards: int = 0
    nonfinite: int = 0
    zero_gradients: int = 0  # gradients that were exactly zero
    unconfirmed: int = 0  # claimed successes that the re-check refused
    unfinished: bool = False
    replayed: tuple[int, Tensor, JudgedRow] | None = (
        None  # lowest eps_index that a stored point breaks, and that point
    )
    outcomes: list[Outcome] = dataclasses.field(
        default_factory=list
    )  # of the budgets that are decided
    work: int = 0  # steps of attacks it has been through: what the progress bar counts
    seen: bool | None = None  # whether any attack has shown a point it tried; None before the first

    def tried(self, work: int, *, shown: bool) -> None:
        """Another attack has been through, which has shown points it tried, or has given back the clean input only."""
        self.work += work
        self.seen = bool(self.seen) or shown

    def hit(
        self, entry: int, variant: int, step: int, x: Tensor | None, judged: JudgedRow | None
    ) -> None:
        """A confirmed success: what, where and how."""
        self.found, self.entry, self.variant, self.step, self.x, self.judged = (
            True,
            entry,
            variant,
            step,
            x,
            judged,
        )

    def close(self) -> None:
        """The sample is decided at the next budget: it has fallen, or has stood everything so far."""
        status = (
            UNFINISHED
            if self.unfinished
            else UNCONFIRMED
            if self.unconfirmed
            else NON_FINITE
            if self.nonfinite
            else OK
        )
        self.outcomes.append(
            Outcome(
                self.found,
                self.x,
                self.judged,
                self.entry,
                self.variant,
                self.step,
                self.forwards,
                self.backwards,
                status,
                self.source,
                self.found or self.seen is not False,
            )
        )
