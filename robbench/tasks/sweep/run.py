"""Run a sweep: what is not done yet, on any engine, with a record of every outcome."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from robbench.core.files import check_writable
from robbench.core.lock import locked
from robbench.execution.driver import drive
from robbench.execution.task import Engine, Outcome
from robbench.store.tables import number_of_rows
from robbench.store.tasks import write_tasks
from robbench.tasks.sweep.plan import Item, SweepPlan
from robbench.tasks.sweep.rows import WAITING, task_rows
from robbench.tasks.sweep.state import Record, SweepState

PAUSE, SHARE = 10.0, 0.05  # seconds between two tables, of which writing takes this share at most


@dataclasses.dataclass(frozen=True)
class Swept:
    """A sweep that has ended: its plan, and the last record of every task."""

    plan: SweepPlan
    state: SweepState
    records: Mapping[str, Record]
    computed: int  # tasks that ended in this call

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of the table of tasks."""
        return task_rows(self.plan, self.records, self.state)

    @property
    def counts(self) -> dict[str, int]:
        """How many tasks have each status."""
        return dict(Counter(self._status(item) for item in self.plan.items))

    @property
    def failed(self) -> list[Item]:
        """The tasks that failed or were lost, in their order."""
        return [item for item in self.plan.items if self._status(item) in ("failed", "lost")]

    @property
    def run_ids(self) -> list[str]:
        """The runs of all attacks that are done, each once."""
        found = (
            self.records[item.task.id]["value"]["run_ids"]
            for item in self.plan.items
            if item.kind == "attack" and self._status(item) == "done"
        )
        return list(dict.fromkeys(run_id for run_ids in found for run_id in run_ids))

    def error(self) -> str | None:
        """One line that counts what failed and names the first; None where all is done."""
        if not self.failed:
            return None
        first, counts = self.failed[0], self.counts
        skipped = counts.get("skipped", 0)
        more = f" ({skipped} more were skipped that need one of them)" if skipped else ""
        why = self.records[first.task.id]["error"] or "its process was lost"
        return (
            f"{len(self.failed)} of {len(self.plan.items)} tasks failed{more}; the first, "
            f"{first.task.title}: {why}"
        )

    def _status(self, item: Item) -> str:
        return str(self.records[item.task.id]["status"])


class Watcher:
    """Follows a sweep; this one ignores everything."""

    def say(self, text: str) -> None:
        """A message."""

    def begins(self, tasks: int, done: int) -> None:
        """There are so many tasks, of which so many were done before."""

    def ended(self, item: Item, outcome: Outcome) -> None:
        """A task has ended, or was skipped."""

    def tick(self, engine: Engine) -> None:
        """Called between two waits; what it raises ends the sweep."""


def run_sweep(
    plan: SweepPlan,
    state: SweepState,
    engine: Callable[[], Engine],
    *,
    retries: int = 0,
    force: bool = False,
    require: Callable[[Sequence[Item]], None],
    watcher: Watcher,
) -> Swept:
    """Run the tasks that are not done, with a record of every outcome.

    engine: makes the engine, once there is something to do. require: raises UserError for tasks
    that cannot work, before any begins. What is finished is kept whatever happens: the same call
    goes on from there. Waits while another process is at this sweep.
    """
    records = state.read()
    if todo := left(plan, state, records, force):
        require(todo)
        check_writable(state.folder)
    elif state.table.exists() and number_of_rows(state.table) == len(plan.items):
        watcher.begins(len(plan.items), len(plan.items))
        return Swept(plan, state, records, 0)
    with locked(state.folder / "lock", f"sweep {plan.name}", say=watcher.say):
        records = state.read()
        todo = left(plan, state, records, force)  # another process may have been at it
        for item in todo:
            records[item.task.id] = WAITING
        table = _Table(plan, state, records)
        table.write()
        watcher.begins(len(plan.items), len(plan.items) - len(todo))
        items = {item.task.id: item for item in todo}
        try:
            with engine() as workers:
                for outcome in drive(
                    [item.task for item in plan.items],
                    workers,
                    retries=retries,
                    done=[item.task.id for item in plan.items if item.task.id not in items],
                    tick=lambda: watcher.tick(workers),
                ):
                    records[outcome.task] = state.add(outcome)
                    watcher.ended(items[outcome.task], outcome)
                    table.write_if_due()
        finally:
            table.write()
        return Swept(plan, state, records, len(todo))


def left(
    plan: SweepPlan, state: SweepState, records: Mapping[str, Record], force: bool
) -> list[Item]:
    """The tasks that are to be done; with `force` all."""
    done = set[str]() if force else state.done(plan, records)
    return [item for item in plan.items if item.task.id not in done]


class _Table:
    """The table of tasks, written anew now and then: it takes a small share of the time."""

    def __init__(self, plan: SweepPlan, state: SweepState, records: Mapping[str, Record]) -> None:
        self.plan = plan
        self.state = state
        self.records = records
        self.due = 0.0

    def write(self) -> None:
        began = time.monotonic()
        write_tasks(
            self.state.table, self.plan.name, task_rows(self.plan, self.records, self.state)
        )
        now = time.monotonic()
        self.due = now + max(PAUSE, (now - began) / SHARE)

    def write_if_due(self) -> None:
        if time.monotonic() >= self.due:
            self.write()
