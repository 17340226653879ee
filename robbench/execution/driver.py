"""Runs tasks on an engine, each after those it needs, again where a try was in vain."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from robbench.execution.task import Engine, Outcome, Task

BAD_INPUT = 2


def drive(
    tasks: Iterable[Task],
    engine: Engine,
    *,
    retries: int = 0,
    done: Iterable[str] = (),
    pause: float = 0.5,
    tick: Callable[[], None] = lambda: None,
) -> Iterator[Outcome]:
    """The last outcome of every task, as it comes: of those in `done`, none.

    A failed or lost task is tried again up to `retries` times, but for one that failed of bad
    input. Tasks after one that was not done are skipped. `tick` is called between two waits of
    `pause` seconds at most; what it raises ends all.
    """
    finished, tries = set(done), Counter[str]()
    left = {task.id: task for task in tasks if task.id not in finished}
    needed_by: dict[str, list[str]] = {}
    missing: dict[str, int] = {}
    for task in left.values():
        needs = [name for name in task.after if name not in finished]
        missing[task.id] = len(needs)
        for name in needs:
            needed_by.setdefault(name, []).append(task.id)
    ready = deque(name for name in left if not missing[name])
    in_flight, skipped = 0, set[str]()
    while ready or in_flight:
        while ready and engine.free > 0:
            engine.start(left[ready.popleft()])
            in_flight += 1
        tick()
        for outcome in engine.wait(pause):
            in_flight -= 1
            name = outcome.task
            tries[name] += 1
            if outcome.status == "done":
                # First: whole results early, rather than half of everything.
                for other in reversed(needed_by.get(name, ())):
                    missing[other] -= 1
                    if not missing[other]:
                        ready.appendleft(other)
            elif outcome.code != BAD_INPUT and tries[name] <= retries:
                ready.append(name)
                continue
            yield outcome._replace(tries=tries[name])
            if outcome.status != "done":
                yield from _skipped(name, needed_by, skipped)


def _skipped(
    name: str, needed_by: Mapping[str, Sequence[str]], skipped: set[str]
) -> Iterator[Outcome]:
    """The tasks that come after one that was not done, each once over all calls."""
    stack = [name]
    while stack:
        cause = stack.pop()
        for other in needed_by.get(cause, ()):
            if other not in skipped:
                skipped.add(other)
                stack.append(other)
                yield Outcome(other, "skipped", error=f"it needs {cause}, which was not done")
