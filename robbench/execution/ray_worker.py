"""What a worker of a Ray cluster does with a task."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any, NamedTuple

import robbench
from robbench.core.errors import Stopped
from robbench.core.reproducible import prepare
from robbench.core.trust import licence, licensed
from robbench.execution.task import Outcome, Task
from robbench.execution.worker import work


class Driver(NamedTuple):
    """What a worker has to know of the process that gave it a task."""

    version: str
    folder: str
    path: list[str]
    licence: dict[str, Any]
    mark: str  # a file that every machine sees that shares the output folder

    @classmethod
    def here(cls, mark: Path) -> Driver:
        """This process."""
        return cls(robbench.__version__, str(Path.cwd()), sys.path, licence(), str(mark))

    def misfit(self) -> str:
        """Why a task of that process cannot be done here; empty if it can."""
        here = socket.gethostname()
        if robbench.__version__ != self.version:
            return (
                f"the worker on {here} has robbench {robbench.__version__}, the command "
                f"{self.version}: install the same on all machines of the cluster"
            )
        if not Path(self.mark).exists():
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
            return work(task, Path(log), Path(progress))
    except Stopped:
        return Outcome(task.id, "lost", error="a signal stopped its worker", code=3)
