"""What a worker of a Ray cluster does with a task."""

from __future__ import annotations

import dataclasses
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import robbench
from robbench.core.errors import RobbenchError, Stopped
from robbench.core.escaping import without_password
from robbench.core.reproducible import prepare
from robbench.core.trust import licence, licensed
from robbench.execution.logs import size, tail
from robbench.execution.task import Outcome, Task
from robbench.execution.worker import work
from robbench.store.address.copies import working_copy
from robbench.store.address.mirror import Mirror


class Driver(NamedTuple):
    """What a worker has to know of the process that gave it a task."""

    version: str
    folder: str
    path: list[str]
    licence: dict[str, Any]
    mark: str  # a file that every machine sees that shares the output folder
    copy: tuple[str, str] | None = None  # of an address: its working copy, which nobody shares

    @classmethod
    def here(cls, mark: Path, mirror: Mirror | None = None) -> Driver:
        """This process; mirror: of the working copy that it works in."""
        copy = None if mirror is None else (mirror.place.address, str(mirror.folder))
        return cls(robbench.__version__, str(Path.cwd()), sys.path, licence(), str(mark), copy)

    def misfit(self) -> str:
        """Why a task of that process cannot be done here; empty if it can."""
        here = socket.gethostname()
        if robbench.__version__ != self.version:
            return (
                f"the worker on {here} has robbench {robbench.__version__}, the command "
                f"{self.version}: install the same on all machines of the cluster"
            )
        if self.copy is None and not Path(self.mark).exists():
            return (
                f"the worker on {here} does not see {Path(self.mark).parent}: choose an output "
                "folder that all machines of the cluster share"
            )
        return ""


def run(driver: Driver, task: Task, log: str, progress: str) -> Outcome:
    """One try of a task, in the driver's folder and with its import path.

    A task that a signal stopped is lost, as Ray may have taken its worker away.
    """
    if misfit := driver.misfit():
        return Outcome(task.id, "failed", error=misfit, worker=socket.gethostname(), code=2)
    prepare()
    if Path(driver.folder).is_dir():
        os.chdir(driver.folder)
    sys.path += [place for place in driver.path if place not in sys.path]
    try:
        with licensed(driver.licence):
            if driver.copy is None:
                return work(task, Path(log), Path(progress))
            return _in_own_copy(*driver.copy, task, log, progress)
    except Stopped:
        return Outcome(task.id, "lost", error="a signal stopped its worker", code=3)


def _in_own_copy(address: str, theirs: str, task: Task, log: str, progress: str) -> Outcome:
    """One try in this machine's working copy of an address, in place of the driver's.

    It gets from there what it needs; what it makes is there before it is done.
    """
    try:
        with working_copy(address, print) as folder:
            ours = str(folder)
            here = dataclasses.replace(task, payload=_moved(task.payload, theirs, ours))
            place = Path(_moved(log, theirs, ours))
            start = size(place)
            outcome = work(here, place, Path(_moved(progress, theirs, ours)))
    except RobbenchError as error:
        host = socket.gethostname()
        return Outcome(
            task.id, "failed", error=f"on {host}: {error}", worker=host, code=error.exit_code
        )
    if outcome.status == "done":
        return outcome
    said = outcome.error.replace(ours, without_password(address))
    return outcome._replace(error=said, log=tail(place, start))


def _moved(value: Any, theirs: str, ours: str) -> Any:
    """Plain data whose paths in one folder are those in another."""
    if isinstance(value, Mapping):
        return {name: _moved(one, theirs, ours) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_moved(one, theirs, ours) for one in value]
    if isinstance(value, str) and Path(value).is_relative_to(theirs):
        return str(Path(ours) / Path(value).relative_to(theirs))
    return value
