"""Run a sweep: what is not done yet, on any engine, with a record of every outcome."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from robbench.core.errors import UserError
from robbench.core.files import check_writable
from robbench.core.part import WHOLE, Part
from robbench.execution.driver import drive
from robbench.execution.task import Engine, Outcome
from robbench.store.tasks import read_tasks, write_tasks
from robbench.tasks.sweep.plan import Item, SweepPlan
from robbench.tasks.sweep.rows import WAITING, task_rows
from robbench.tasks.sweep.state import Record, SweepState

PAUSE, SHARE = 10.0, 0.05  # seconds between two tables, of which writing takes this share at most


@dataclasses.dataclass(frozen=True)
class Swept:
    """A sweep that has ended, or a part of it: its tasks, and the last record of each of the plan.

    computed: how many ended in this call.
    """

    plan: SweepPlan
    state: SweepState
    items: list[Item]
    records: Mapping[str, Record]
    computed: int

    @property
    def whole(self) -> bool:
        """Whether nothing is left to other parts."""
        return all(self._status(item) != "waiting" for item in self.plan.items)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of the table of tasks."""
        return task_rows(self.plan, self.records, self.state)

    @property
    def counts(self) -> dict[str, int]:
        """How many tasks have each status."""
        return dict(Counter(self._status(item) for item in self.items))

    @property
    def failed(self) -> list[Item]:
        """The tasks that failed or were lost, in their order."""
        return [item for item in self.items if self._status(item) in ("failed", "lost")]

    @property
    def run_ids(self) -> list[str]:
        """The runs of all attacks that are done, each once."""
        found = (
            self.records[item.task.id]["value"]["run_ids"]
            for item in self.items
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
            f"{len(self.failed)} of {len(self.items)} tasks failed{more}; the first, "
            f"{first.task.title}: {why}"
        )

    def _status(self, item: Item) -> str:
        return str(self.records.get(item.task.id, WAITING)["status"])


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
    engine: Engine,
    *,
    retries: int = 0,
    force: bool = False,
    part: Part = WHOLE,
    require: Callable[[Sequence[Item]], None],
    watcher: Watcher,
) -> Swept:
    """Run the tasks that are not done, with a record of every outcome.

    engine: opened once there is something to do. part: the tasks that are its own,
    beside processes that run other parts. require: raises UserError for tasks that cannot work,
    before any begins. What is finished is kept whatever happens: the same call goes on from there.
    Waits while another process is at the same tasks.
    """
    own, records = plan.of(part), state.read()
    if todo := left(own, plan, state, records, force):
        require(todo)
        check_writable(state.folder)
    elif _tasks_in(state.table) == [item.task.id for item in plan.items]:
        watcher.begins(len(own), len(own))
        return Swept(plan, state, own, records, 0)
    with state.locked(part, watcher.say):
        todo = left(own, plan, state, state.read(), force)  # another process may have been at it
        table = _Table(plan, state, {item.task.id for item in todo})
        table.write()
        watcher.begins(len(own), len(own) - len(todo))
        items = {item.task.id: item for item in todo}
        try:
            with engine as workers:
                for outcome in drive(
                    [item.task for item in own],
                    workers,
                    retries=retries,
                    done=[item.task.id for item in own if item.task.id not in items],
                    tick=lambda: watcher.tick(workers),
                ):
                    state.add(outcome, part)
                    table.waiting.discard(outcome.task)
                    watcher.ended(items[outcome.task], outcome)
                    table.write_if_due()
        finally:
            known = table.write()
        return Swept(plan, state, own, known, len(todo))


def _tasks_in(table: Path) -> list[str] | None:
    """Of its rows; None where it is missing or damaged, and has to be written anew."""
    try:
        return [row["task"] for row in read_tasks(table)] if table.exists() else None
    except UserError:
        return None


def left(
    items: Sequence[Item],
    plan: SweepPlan,
    state: SweepState,
    records: Mapping[str, Record],
    force: bool,
) -> list[Item]:
    """Those of some tasks of a plan that are to be done; with `force` all."""
    done = set[str]() if force else state.done(plan, records)
    return [item for item in items if item.task.id not in done]


class _Table:
    """The table of tasks, written anew now and then: it takes a small share of the time.

    waiting: tasks whose earlier records count no more.
    """

    def __init__(self, plan: SweepPlan, state: SweepState, waiting: set[str]) -> None:
        self.plan = plan
        self.state = state
        self.waiting = waiting
        self.due = 0.0

    def write(self) -> Mapping[str, Record]:
        """Write what is known, also of other processes' tasks; the records it rests on."""
        began = time.monotonic()
        with self.state.writing():
            records = self.state.read() | dict.fromkeys(self.waiting, WAITING)
            rows = task_rows(self.plan, records, self.state)
            write_tasks(self.state.table, self.plan.name, rows)
        now = time.monotonic()
        self.due = now + max(PAUSE, (now - began) / SHARE)
        return records

    def write_if_due(self) -> None:
        if time.monotonic() >= self.due:
            self.write()
