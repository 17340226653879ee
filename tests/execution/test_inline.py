"""Tasks in this process, and the call that one describes."""

import contextlib
import os
import re
from pathlib import Path

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


def wander(payload):
    os.chdir(payload["n"])
    return {}


def fork(payload):
    if os.fork() == 0 and payload["n"]:
        raise ValueError("of the child")
    return {"process": os.getpid()}


def mumble(payload):
    raise ValueError("a\udcffb")


def give_up(payload):
    raise GeneratorExit("enough")


def stop(payload):
    raise Stopped(130)


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    import sys
    import types

    module = types.ModuleType("inline_tasks")
    module.__dict__.update(
        double=double,
        refuse=refuse,
        break_down=break_down,
        stop=stop,
        wander=wander,
        fork=fork,
        mumble=mumble,
        give_up=give_up,
    )
    monkeypatch.setitem(sys.modules, "inline_tasks", module)


def outcome(name, n=4):
    with Inline() as engine:
        assert engine.free == 1
        engine.start(Task(id="t", call=f"inline_tasks:{name}", payload={"n": n}))
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


def test_a_task_that_raises_what_is_no_exception_has_failed():
    assert outcome("give_up").status == "failed"
    assert outcome("give_up").error.startswith("GeneratorExit: enough (")


def test_an_error_is_text_that_can_be_written():
    assert outcome("mumble").error.encode().startswith(rb"ValueError: a\udcffb (")


def test_the_working_folder_is_that_of_before(tmp_path):
    before = Path.cwd()
    assert outcome("wander", str(tmp_path)).status == "done"
    assert Path.cwd() == before


@pytest.mark.parametrize("fails", [0, 1])
def test_a_child_that_a_task_forks_does_not_go_on_as_its_parent(fails, tmp_path):
    """Each process that comes out of the task writes a line; there is one."""
    found = outcome("fork", fails)
    with (tmp_path / "processes").open("a") as file:
        file.write(f"{os.getpid()}\n")
    with contextlib.suppress(ChildProcessError):
        os.wait()
    assert (tmp_path / "processes").read_text().split() == [str(found.value["process"])]
