"""Samples of a gate, booked in their random order as they are decided."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from robbench.analysis.gate_checks import Tolerances
from robbench.analysis.sequential_gate import SequentialGate
from robbench.tasks.gate.plan import GatePlan


class Booking:
    """Books samples in their order, up to the first undecided one or the gate's decision."""

    def __init__(self, gated: GatePlan, tolerances: Tolerances) -> None:
        baseline, split = gated.baseline, gated.plan.subject.split
        self.order, self.gate = gated.order, SequentialGate(tolerances, len(gated.order))
        names = ("sample_id", "robust", "clean_correct")
        by_id = {
            i: verdicts
            for i, *verdicts in zip(
                *(baseline.samples[name].to_pylist() for name in names), strict=True
            )
        }
        self.theirs = [by_id[i] for i in split.ids.tolist()]  # by position

    def enter(self, rows: dict[int, dict[str, Any]]) -> None:
        """Book what can be booked of the rows, by position."""
        for i in self._next(rows):
            robust, clean = self.theirs[i]
            self.gate.add((robust, rows[i]["robust"]), (clean, rows[i]["clean_correct"]))

    def _next(self, rows: dict[int, dict[str, Any]]) -> Iterator[int]:
        while not self.gate.decided and self.order[self.gate.seen] in rows:
            yield self.order[self.gate.seen]
