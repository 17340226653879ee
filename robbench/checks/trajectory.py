"""An attack's trajectory: it climbs, it converges, no success is lost (Pintor et al. 2022)."""

from __future__ import annotations

from robbench.checks.base import Reading, counted
from robbench.checks.evidence import Evidence, Skip
from robbench.checks.probes import PROBE
from robbench.objectives import cross_entropy


def progress(e: Evidence) -> Reading:
    """Most steps raise the objective; where gradients mislead, half of them lower it.

    Only steps before the first success count.

    Figures: good models 0; statistics of the batch 0.11, a misleading gradient 0.33, none at all 1.
    """
    values, hits = e.trace.values, e.trace.hits
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
    values, hits = e.trace.values, e.trace.hits
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


def stationary(e: Evidence) -> Reading:
    """Where the attack fails, it ends where the gradient still points the way it went.

    The first-order stationary condition (Wang et al. 2019, arXiv:2112.08304) as a share: how much
    less the move to the end gains along the gradient there than the best move in the budget would;
    0 where it converged, 1 where the two have nothing in common. More than a half counts. The
    gradients may be right, but of a loss so rugged that steps lead nowhere: some seeds of TRADES
    end so, and PGD overstates their robustness by far (Li et al. 2024, arXiv:2410.07675). Not in
    l1, where a step moves one entry.

    Figures: good models 0, of shares up to 0.16 (MNIST at linf:0.3); a rugged loss 1, other masked
    gradients 0.87 to 0.98.
    """
    if e.budget.norm.one_entry:
        raise Skip(f"in {e.budget.norm_name} an attack's steps move single entries")
    ends, p = e.trace.points, e.problem
    gradient = e.answers.slope(p, ends, cross_entropy)
    best, gained = (
        ((x - p.x0) * gradient).flatten(1).sum(1).cpu()
        for x in (p.ball.ascend(p.x0, gradient, p.eps), ends)
    )
    standing = e.right & ~e.trace.hits.any(0)
    text = (
        f"unbroken samples end {PROBE} where the gradient points elsewhere, so its steps lead "
        f"nowhere{e.hint('stationary')}"
    )
    return counted(e, gained < best / 2, standing & (best > 0), 0.2, text)


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
