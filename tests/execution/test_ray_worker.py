"""What a worker of another machine refuses, and what it takes over from its driver."""

import os
import socket
import sys

import pytest

from robbench.core.trust import command_line
from robbench.execution.ray_worker import Driver, run
from robbench.execution.task import Task
from robbench.store.address.copies import copy_of, working_copy

TASKS = r"""
import os
from pathlib import Path
from robbench.core.errors import Stopped, UserError

def where(payload):
    os.write(1, b"a word\n")
    return {"folder": os.getcwd()}

def stop(payload):
    raise Stopped(130)

def copies(payload):
    os.write(1, b"a word\n")
    out = Path(payload["out"])
    read, n, _, kind = payload["more"]
    if kind == "bad":
        raise UserError(f"{out}/x is bad")
    (out / "results" / "runs").mkdir(parents=True, exist_ok=True)
    (out / "results" / "runs" / "x.parquet").write_text("made")
    return {"read": Path(read).read_text(), "out": str(out), "n": n}

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


def test_output_at_an_address_needs_no_shared_folder(driver, tmp_path, monkeypatch):
    """A task works in a copy of this machine: it finds what the driver has put, which finds what it
    has put, its log too. What fails speaks of the address.
    """
    address = f"file://{tmp_path / 'there'}"
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("ROBBENCH_COPIES", str(tmp_path / "A"))
        with working_copy(address, print) as theirs:
            put = theirs / "results" / "sweeps" / "put"
            put.parent.mkdir(parents=True)
            put.write_text("from the driver")
            far = driver._replace(mark="nowhere", copy=(address, str(theirs)))
    monkeypatch.setenv("ROBBENCH_COPIES", str(tmp_path / "B"))
    log = theirs / "results" / "sweeps" / "a.log"

    def ran(kind):
        payload = {"out": str(theirs), "more": [str(put), 1, None, kind]}
        task = Task(id="a", call="far_tasks:copies", payload=payload)
        return run(far, task, str(log), str(log.with_suffix(".progress")))

    found = ran("ok")
    assert (found.status, found.error) == ("done", "")
    assert found.value == {"read": "from the driver", "out": str(copy_of(address)), "n": 1}
    there = tmp_path / "there" / "results"
    assert (there / "runs" / "x.parquet").read_text() == "made"
    assert (there / "sweeps" / "a.log").read_text() == "a word\n"
    assert not log.exists()
    found = ran("bad")
    assert (found.status, found.code, found.log) == ("failed", 2, "a word")
    assert found.error == f"{address}/x is bad"


def test_no_password_of_an_address_is_sent_back(driver, tmp_path, monkeypatch):
    """What fails speaks of the address without it."""
    monkeypatch.setenv("ROBBENCH_COPIES", str(tmp_path / "B"))
    theirs = str(tmp_path / "A")
    far = driver._replace(copy=("memory://me:secret@far/x", theirs))
    found = ran(far, tmp_path, "copies", out=theirs, more=["", 1, None, "bad"])
    assert (found.status, found.error) == ("failed", "memory://***@far/x/x is bad")


def test_an_address_that_this_machine_cannot_use(driver, tmp_path, monkeypatch):
    """Without its package, credentials or rights: the error says which machine."""
    monkeypatch.setenv("ROBBENCH_COPIES", str(tmp_path / "B"))
    found = ran(driver._replace(copy=("odd://out", str(tmp_path / "A"))), tmp_path, "where")
    assert (found.status, found.code) == ("failed", 2)
    assert found.error.startswith(f"on {socket.gethostname()}: ")


def test_a_stopped_task_is_lost(driver, tmp_path):
    assert ran(driver, tmp_path, "stop").status == "lost"


def test_private_code_is_imported_only_if_it_was_typed(driver, tmp_path):
    found = ran(driver, tmp_path, "imports", target="far_tasks:where")
    assert found.value == {"found": "where"}
    assert ran(driver, tmp_path, "imports", target="far_tasks:stop").code == 2
