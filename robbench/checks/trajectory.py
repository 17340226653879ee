"""An attack's trajectory: it climbs, it converges, no success is lost (Pintor et al. 2022)."""

from __future__ import annotations

from robbench.checks.base import Reading, counted
from robbench.checks.evidence import Evidence
from robbench.checks.probes import PROBE


def progress(e: Evidence) -> Reading:
    """Most steps raise the objective; where gradients mislead, half of them lower it.

    Only steps before the first success count.

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
        f"samples saw most steps of {PROBE} lower its objective",
    )


def incomplete(e: Evidence) -> Reading:
    """Where the attack fails, the last quarter of its steps gains little of what all steps gain.

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
        f"unbroken samples gained a quarter in the last steps of {PROBE}: give it more",
    )


def silent_success(e: Evidence) -> Reading:
    """A sample that was misclassified at any step counts as broken, wherever the attack ended.

    Figures: good models 0, as it must be; random inputs 0.03 to 0.07, statistics of the batch 0.04.
    """
    e.require_deterministic()
    hits = e.trace.hits.any(0)
    lost = hits & ~e.probe(PROBE).found
    return counted(
        e,
        lost,
        hits & e.right,
        0.02,
        "samples were misclassified at some step and not counted as broken",
    )
