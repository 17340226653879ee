"""The way of an attack, step by step: it climbs, it arrives, and no success on it is lost (Pintor et al. 2022)."""

from __future__ import annotations

from robbench.checks.base import Reading, counted
from robbench.checks.evidence import PROBE, Evidence


def progress(e: Evidence) -> Reading:
    """Most steps raise what the attack climbs; on a way that misleads every other one does.

    Only steps before the first success count, where there is something to climb.

    Figures: good models 0; statistics of the batch 0.11, a misleading gradient 0.33, none at all 1.
    """
    values, hits = e.trace
    before = (hits.cumsum(0) == 0)[:-1] & e.right
    rises = (values[1:] > values[:-1]) & before
    steps = before.sum(0)
    stuck = (rises.sum(0) < 0.5 * steps) & (steps >= 4)
    return counted(
        e,
        stuck,
        (steps >= 4) & e.right,
        0.2,
        f"samples saw most steps of {PROBE} lower what they should raise",
    )


def incomplete(e: Evidence) -> Reading:
    """What stands no longer rises at the end: the last quarter of the steps gains little of what all have gained.

    Figures: good models up to 0.08; statistics of the batch 0.64.
    """
    values, hits = e.trace
    best = values.cummax(0).values
    whole = best[-1] - best[0]
    late = best[-1] - best[-1 - len(values) // 4]
    standing = e.right & ~hits.any(0)
    return counted(
        e,
        late > 0.25 * whole,
        standing & (whole > 0),
        0.3,
        f"standing samples gained a quarter of their way at the end of {PROBE}: more steps",
    )


def silent_success(e: Evidence) -> Reading:
    """A sample that was misclassified anywhere on the way is counted as fallen, wherever the way ended.

    Figures: good models 0, as it must be; random inputs 0.03 to 0.07, statistics of the batch 0.04.
    """
    e.steady()
    hits = e.trace.hits.any(0)
    lost = hits & ~e.attack(PROBE).found
    return counted(
        e,
        lost,
        hits & e.right,
        0.02,
        "samples were misclassified on the way and counted as standing",
    )
