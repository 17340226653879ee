"""Tasks in this process, and the call that one describes."""

import re

import pytest

from robbench.core.errors import Stopped, UserError
from robbench.execution.inline import Inline
from robbench.execution.task import Task


def double(payload):
    return {"twice": 2 * payload["n"]}


def refuse(payload):
    raise UserError("this is\nwrong")


def break_down(payload):
    raise ZeroDivisionError


def stop(payload):
    raise Stopped(130)


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    import sys
    import types

    module = types.ModuleType("inline_tasks")
    module.__dict__.update(double=double, refuse=refuse, break_down=break_down, stop=stop)
    monkeypatch.setitem(sys.modules, "inline_tasks", module)


def outcome(name):
    with Inline() as engine:
        assert engine.free == 1
        engine.start(Task(id="t", call=f"inline_tasks:{name}", payload={"n": 4}))
        assert engine.free == 0
        assert [running.task for running in engine.running()] == ["t"]
        (found,) = engine.wait(1)
        assert (engine.free, engine.running()) == (1, [])
    return found


def test_the_value_is_returned():
    found = outcome("double")
    assert (found.task, found.status, found.value) == ("t", "done", {"twice": 8})


def test_an_error_is_one_line_with_its_code():
    assert outcome("refuse")[1:4] == ("failed", None, "this is wrong")
    assert outcome("refuse").code == 2
    assert re.fullmatch(
        r"ZeroDivisionError \(test_inline\.py, line \d+\)", outcome("break_down").error
    )
    assert outcome("break_down").code == 3


def test_a_signal_passes_through():
    with pytest.raises(Stopped):
        outcome("stop")
