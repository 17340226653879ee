"""What a worker of another machine refuses, and what it takes over from its driver."""

import os
import sys

import pytest

from robbench.core.trust import command_line
from robbench.execution.ray_worker import Driver, run
from robbench.execution.task import Task

TASKS = r"""
import os
from robbench.core.errors import Stopped

def where(payload):
    os.write(1, b"a word\n")
    return {"folder": os.getcwd()}

def stop(payload):
    raise Stopped(130)

def imports(payload):
    from robbench.core.imports import import_target
    return {"found": import_target(payload["target"], "loss").__name__}
"""


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """A driver in a folder with private code, whose import path is not ours."""
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "far_tasks.py").write_text(TASKS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr("robbench.execution.ray_worker.prepare", lambda: None)
    mark = tmp_path / "logs" / "mark"
    mark.parent.mkdir()
    mark.touch()
    with command_line(["--loss", "far_tasks:where"]):
        there = Driver.here(mark)
    yield there._replace(folder=str(tmp_path / "job"), path=[str(tmp_path / "job")])
    sys.modules.pop("far_tasks", None)


def ran(driver, tmp_path, function, **payload):
    task = Task(id="a", call=f"far_tasks:{function}", payload=payload)
    log = tmp_path / "logs" / "a.log"
    return run(driver, task, str(log), str(log.with_suffix(".progress")))


def test_a_task_runs_in_the_drivers_folder_with_its_imports(driver, tmp_path):
    found = ran(driver, tmp_path, "where")
    assert (found.status, found.value) == ("done", {"folder": str(tmp_path / "job")})
    assert (tmp_path / "logs" / "a.log").read_text() == "a word\n"
    assert str(os.getpid()) in found.worker


def test_another_version_is_refused(driver, tmp_path):
    found = ran(driver._replace(version="0.0.7"), tmp_path, "where")
    assert (found.status, found.code) == ("failed", 2)
    assert "0.0.7: install the same" in found.error


def test_a_folder_that_is_not_shared_is_refused(driver, tmp_path):
    (tmp_path / "logs" / "mark").unlink()
    found = ran(driver, tmp_path, "where")
    assert (found.status, found.code) == ("failed", 2)
    assert f"does not see {tmp_path / 'logs'}" in found.error


def test_a_stopped_task_is_lost(driver, tmp_path):
    assert ran(driver, tmp_path, "stop").status == "lost"


def test_private_code_is_imported_only_if_it_was_typed(driver, tmp_path):
    found = ran(driver, tmp_path, "imports", target="far_tasks:where")
    assert found.value == {"found": "where"}
    assert ran(driver, tmp_path, "imports", target="far_tasks:stop").code == 2
