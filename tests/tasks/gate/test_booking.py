"""Samples are booked in the random order, and only up to the first that is not decided."""

from __future__ import annotations

from collections.abc import Callable

from robbench.analysis.gate_checks import CLEAN, ROBUST, Tolerances
from robbench.tasks.gate.booking import Booking
from robbench.tasks.gate.plan import GatePlan


def test_a_gap_ends_the_booking(planned: Callable[..., GatePlan]) -> None:
    """Later samples wait for the gap, then count; lost and won as counted by hand."""
    gated = planned()
    order = gated.order
    tolerances = Tolerances(robust=0.9, clean=0.9)
    rows = {
        i: {"sample_index": i, "robust": i % 2 == 0, "clean_correct": i % 3 != 0} for i in order
    }
    book = Booking(gated, tolerances)
    book.enter({i: rows[i] for i in order if i != order[3]})
    assert book.gate.seen == 3
    book.enter({i: rows[i] for i in order[:5]})
    assert book.gate.seen == 5
    index = gated.baseline.samples["sample_index"].to_pylist()
    for metric, name in ((ROBUST, "robust"), (CLEAN, "clean_correct")):
        theirs = dict(zip(index, gated.baseline.samples[name].to_pylist(), strict=True))
        lost = sum(theirs[i] and not rows[i][name] for i in order[:5])
        won = sum(rows[i][name] and not theirs[i] for i in order[:5])
        assert book.gate.counts[metric][1:] == [lost, won]
