"""Order, retries and skipping, against an engine that only remembers."""

from collections import Counter

import pytest

from robbench.core.errors import Stopped
from robbench.execution.driver import drive
from robbench.execution.task import Engine, Outcome, Task


class Fake(Engine):
    """Ends tasks as told: `plan[id]` is the status of each of its tries, "done" after them."""

    def __init__(self, plan=None, slots=2, code=3):
        self.plan = {name: list(tries) for name, tries in (plan or {}).items()}
        self.slots, self.code = slots, code
        self.flight, self.order, self.most = [], [], 0

    @property
    def free(self):
        return self.slots - len(self.flight)

    def start(self, task):
        self.flight.append(task)
        self.order.append(task.id)
        self.most = max(self.most, len(self.flight))

    def wait(self, timeout):
        task = self.flight.pop()
        tries = self.plan.get(task.id)
        status = tries.pop(0) if tries else "done"
        return [Outcome(task.id, status, code=0 if status == "done" else self.code)]

    def running(self):
        return []

    def close(self):
        self.flight.clear()


def task(name, *after):
    return Task(id=name, call="m:f", payload={}, after=after)


DIAMOND = [task("d", "b", "c"), task("b", "a"), task("c", "a"), task("a")]


def test_every_task_runs_once_after_those_it_needs():
    engine = Fake()
    found = [outcome.task for outcome in drive(DIAMOND, engine)]
    assert Counter(found) == Counter("abcd")
    assert engine.order[0] == "a"
    assert engine.order[-1] == "d"
    assert engine.most == 2


def test_what_is_done_is_not_started():
    engine = Fake()
    assert [o.task for o in drive(DIAMOND, engine, done=["a", "b"])] == ["c", "d"]
    assert engine.order == ["c", "d"]


def test_what_is_done_is_not_started_after_one_that_it_needs():
    """As an attack whose run is there, of a model that is trained again."""
    assert [o.task for o in drive(DIAMOND, Fake(), done=["b", "d"])] == ["a", "c"]
    fails = Fake({"a": ["failed"]})
    assert [o.task for o in drive(DIAMOND, fails, done=["b", "d"])] == ["a", "c"]


@pytest.mark.parametrize("status", ["failed", "lost"])
def test_a_try_in_vain_is_made_again(status):
    engine = Fake({"a": [status]})
    assert [o.status for o in drive([task("a")], engine, retries=1)] == ["done"]
    assert engine.order == ["a", "a"]
    engine = Fake({"a": [status] * 3})
    assert [o.status for o in drive([task("a")], engine, retries=1)] == [status]
    assert engine.order == ["a", "a"]


def test_bad_input_is_not_tried_again():
    engine = Fake({"a": ["failed"]}, code=2)
    assert [o.status for o in drive([task("a")], engine, retries=5)] == ["failed"]
    assert engine.order == ["a"]


def test_what_comes_after_a_failure_is_skipped_once_and_the_rest_goes_on():
    engine = Fake({"b": ["failed"], "c": ["failed"]})
    found = {o.task: o.status for o in drive([*DIAMOND, task("e")], engine)}
    assert found == {"a": "done", "b": "failed", "c": "failed", "d": "skipped", "e": "done"}
    assert "d" not in engine.order
    assert len(engine.order) == 4


def test_tick_can_end_all():
    def tick():
        raise Stopped(130)

    with pytest.raises(Stopped):
        list(drive([task("a")], Fake(), tick=tick))


def test_a_long_chain_of_skipped_tasks():
    chain = [task("0"), *(task(str(n), str(n - 1)) for n in range(1, 5000))]
    found = [o.status for o in drive(chain, Fake({"0": ["failed"]}))]
    assert found == ["failed"] + ["skipped"] * 4999
