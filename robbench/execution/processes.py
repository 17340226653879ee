"""Tasks in processes of this machine, each with its share of the cores and its own GPU.

Own code, as no pool we know has what this takes: the killed worker costs one task one try, a GPU is
chosen before torch is imported, the script of a Python user is not imported again, and workers end
by themselves when the driver is gone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from robbench.core.errors import RunError
from robbench.core.files import cannot_write
from robbench.core.trust import licence
from robbench.execution.logs import log_path, size, tail
from robbench.execution.progress import read
from robbench.execution.task import Engine, Outcome, Running, Task
from robbench.execution.worker import BOOT, GRACE

STILLBORN = 3
"""So many workers in a row that end before they are ready end all."""
ENDING = 10.0
"""Seconds from hanging up to the end of a worker that ends by itself."""


class Processes(Engine):
    """Up to `jobs` worker processes, which are started when there is work and then stay.

    threads: of each worker, unless OMP_NUM_THREADS says otherwise. gpus: as CUDA_VISIBLE_DEVICES
    has them, dealt out to the workers in turn; none: that variable stays as it is.
    """

    def __init__(self, jobs: int, *, logs: Path, threads: int, gpus: Sequence[str] = ()) -> None:
        self._logs = logs.absolute()
        self._threads = threads
        self._gpus = gpus
        self._workers: list[_Worker | None] = [None] * jobs
        self._stillborn = 0

    @property
    def free(self) -> int:
        return sum(worker is None or worker.task is None for worker in self._workers)

    def start(self, task: Task) -> None:
        # A worker that is there before a new one; a dead one is replaced.
        slots = [slot for slot, worker in enumerate(self._workers) if not (worker and worker.task)]
        alive = (slot for slot in slots if (w := self._workers[slot]) and w.process.poll() is None)
        slot = next(alive, slots[0])
        worker, log = self._workers[slot], log_path(self._logs, task.id)
        printed = size(log)
        if worker is not None and worker.process.poll() is not None:
            worker.kill()
            worker = None
        if worker is None:
            worker = self._workers[slot] = self._hired(slot, log)
        worker.give(task, log, printed)

    def wait(self, timeout: float) -> list[Outcome]:
        busy = {slot: worker for slot, worker in enumerate(self._workers) if worker and worker.task}
        with selectors.DefaultSelector() as selector:
            for worker in busy.values():
                selector.register(worker.answers, selectors.EVENT_READ)
            selector.select(timeout if busy else 0)
        found = []
        for slot, worker in busy.items():
            ended = worker.process.poll() is not None  # asked first: what it said is then all there
            outcome = worker.heard()
            self._stillborn = 0 if worker.ready else self._stillborn
            if outcome is None and (ended or worker.silent):
                outcome = self._lost(slot, worker)
            if outcome is not None:
                found.append(outcome)
        return found

    def running(self) -> Sequence[Running]:
        return [worker.state(worker.task) for worker in self._workers if worker and worker.task]

    def close(self) -> None:
        workers = [worker for worker in self._workers if worker]
        self._workers = [None] * len(self._workers)
        try:
            for worker in workers:
                worker.dismiss()
            until = time.monotonic() + GRACE
            for worker in workers:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    worker.process.wait(max(until - time.monotonic(), 0))
        finally:  # also when a second signal ends the wait
            for worker in workers:
                worker.kill()

    def _lost(self, slot: int, worker: _Worker) -> Outcome | None:
        """The outcome of a dead worker's task; None where it died before the task began."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.process.wait(ENDING)
        task, how = worker.task, _how(worker.process.poll())
        worker.kill()
        self._workers[slot] = None
        assert task is not None
        printed = tail(worker.log, worker.log_start)
        if not worker.ready:
            self._stillborn += 1
            if self._stillborn >= STILLBORN:
                last = printed.splitlines()[-1:] or [f"worker {how}"]
                raise RunError(f"no worker process starts: {last[0].strip()} (log: {worker.log})")
            self.start(task)
            return None
        return Outcome(
            task.id,
            "lost",
            error=f"its worker {how}",
            log=printed,
            seconds=time.monotonic() - worker.began,
            worker=f"process {worker.process.pid}",
            code=3,
        )

    def _hired(self, slot: int, log: Path) -> _Worker:
        env = {"OMP_NUM_THREADS": str(self._threads), **os.environ}
        if self._gpus:
            env["CUDA_VISIBLE_DEVICES"] = self._gpus[slot % len(self._gpus)]
        given = json.dumps({"path": sys.path, "licence": licence()})
        try:
            self._logs.mkdir(parents=True, exist_ok=True)
            errors = log.open("ab")  # of the start: then each task has its own
        except OSError as error:
            raise cannot_write(log, error) from error
        with errors:
            try:
                process = subprocess.Popen(
                    [sys.executable, "-c", BOOT, given],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    env=env,
                    start_new_session=True,  # Ctrl-C in a terminal is the driver's alone
                )
            except OSError as error:
                raise RunError(
                    f"a worker process cannot be started: {error.strerror}; use fewer --jobs"
                ) from error
        return _Worker(process)


class _Worker:
    """A worker process, and the task it is at."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        self.process = process
        self.answers = process.stdout
        self.ready = self.silent = False
        self.task: Task | None = None
        self.log = self.progress = Path()
        self.log_start, self.began = 0, 0.0
        self._said = b""
        os.set_blocking(self.answers.fileno(), False)

    def give(self, task: Task, log: Path, log_start: int) -> None:
        """Begin a task, which prints into a log after what is there."""
        self.task, self.began = task, time.monotonic()
        self.log, self.log_start = log, log_start
        self.progress = self.log.with_suffix(".progress")
        message = {
            "task": dataclasses.asdict(task),
            "log": str(self.log),
            "progress": str(self.progress),
        }
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it is dead, which `wait` will see
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()

    def heard(self) -> Outcome | None:
        """The outcome of its task, if it has said so by now."""
        while chunk := self.answers.read(1 << 16):
            self._said += chunk
        self.silent = chunk == b""  # it hung up; None: nothing new
        *lines, self._said = self._said.split(b"\n")
        for line in lines:
            answer = json.loads(line)
            if answer == "ready":
                self.ready = True
                continue
            outcome, self.task = Outcome(*answer), None
            if outcome.status == "failed":
                return outcome._replace(log=tail(self.log, self.log_start))
            return outcome
        return None

    def state(self, task: Task) -> Running:
        """How far its task is."""
        seconds = time.monotonic() - self.began
        return Running(task.id, seconds, *read(self.progress), task.title)

    def dismiss(self) -> None:
        """Close its input: it ends, and its task gets SIGTERM."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()

    def kill(self) -> None:
        """End it and all that it has started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.dismiss()
        self.answers.close()
        with contextlib.suppress(OSError):
            self.progress.unlink()


def _how(code: int | None) -> str:
    """How a process ended; None: not by itself."""
    if code is None:
        return "closed its connection, as code that closes files it did not open may do"
    if code == -signal.SIGKILL:
        return "was killed (SIGKILL), as happens when memory runs out; fewer --jobs need less"
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
