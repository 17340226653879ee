"""Tasks on a Ray cluster, or on a local one that is started for them."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from robbench.core.errors import RunError, UserError
from robbench.core.files import cannot_write
from robbench.execution.logs import log_path, size, tail
from robbench.execution.progress import read
from robbench.execution.ray_connect import connect, first_line, load_ray, silence
from robbench.execution.ray_worker import Driver, run
from robbench.execution.task import Engine, Outcome, Running, Status, Task
from robbench.execution.worker import GRACE
from robbench.store.address.mirror import Mirror

LOST_TRIES = 2
"""Times that Ray itself begins a task again whose worker or machine was lost."""
LOOK = 5.0
"""Seconds between two looks at what machines there are."""
GONE = 3
"""After so many looks in a row that nothing answered, the cluster is gone."""


class Ray(Engine):
    """Up to `jobs` tasks at a time on a cluster, as many as fit if None.

    address: `auto`, HOST:PORT, ray://HOST:PORT, or `local`: a cluster of this machine alone, which
    ends with the engine. cpus, gpus: what each task holds; None: what the task says. mirror: of the
    working copy that the tasks are to work in: each machine has its own, and what they have put at
    the address is here when the engine ends. A Ray that this process is connected to already is
    used, and stays.

    Entering it connects. Raises UserError where Ray is not installed, RunError where no cluster
    answers, also later, when it is gone.
    """

    def __init__(
        self,
        *,
        address: str,
        jobs: int | None,
        logs: Path,
        mirror: Mirror | None = None,
        cpus: int | None = None,
        gpus: float | None = None,
    ) -> None:
        self._address = address
        self._jobs = jobs
        self._logs = logs.absolute()
        self._mirror = mirror
        self._cpus = cpus
        self._gpus = gpus
        self._flight: dict[Any, _Flight] = {}
        self._machines: dict[str, dict[str, float]] = {}  # also those that are gone by now
        self._room, self._look_at = 0, 0.0
        self._head: tuple[str, int] | None = None
        self._silent = 0

    def __enter__(self) -> Self:
        self._ray = load_ray()
        self._mark = self._logs / f".shared-{secrets.token_hex(8)}"
        try:
            self._logs.mkdir(parents=True, exist_ok=True)
            self._mark.touch()
        except OSError as error:
            raise cannot_write(self._mark, error) from error
        if self._mirror:
            self._mirror.push()  # tasks look for it there
        self._driver = Driver.here(self._mark, self._mirror)
        self._connected = not self._ray.is_initialized()
        try:
            if self._connected:
                connect(self._ray, self._address)
            self._remote = self._ray.remote(run)
            if not self._address.startswith("ray://"):
                host, _, port = self._ray.get_runtime_context().gcs_address.rpartition(":")
                self._head = (host, int(port))
            self._look()
        except BaseException:
            self.close()
            raise
        return self

    @property
    def free(self) -> int:
        return max(self._jobs or self._room, 1) - len(self._flight)

    def start(self, task: Task) -> None:
        machines, cpus = self._machines.values(), self._cpus or task.cpus
        gpus = task.gpus if self._gpus is None else self._gpus
        if gpus is None:
            gpus = float(any(has.get("GPU") for has in machines))
        needs = {"CPU": cpus, "GPU": gpus}
        if not any(all(has.get(name, 0) >= n for name, n in needs.items()) for has in machines):
            raise UserError(
                f"a task needs {cpus} CPUs and {gpus:g} GPUs, and no machine of the cluster "
                "has so many"
            )
        log = log_path(self._logs, task.id)
        progress = log.with_suffix(".progress")
        options = self._remote.options(
            num_cpus=cpus,
            num_gpus=gpus,
            max_retries=LOST_TRIES,
            retry_exceptions=False,
            name=task.title or task.id,
        )
        log_start = size(log)
        future = options.remote(self._driver, task, str(log), str(progress))
        self._flight[future] = _Flight(task, time.monotonic(), log, log_start, progress)

    def wait(self, timeout: float) -> list[Outcome]:
        if not self._flight:
            return []
        self._ray.wait([*self._flight], num_returns=1, timeout=timeout)
        self._look()
        ended, _ = self._ray.wait([*self._flight], num_returns=len(self._flight), timeout=0)
        return [self._outcome(future, self._flight.pop(future)) for future in ended]

    def running(self) -> Sequence[Running]:
        """Those that have said how far they are, where the folder is shared."""
        now = time.monotonic()
        return [
            Running(one.task.id, now - one.began, *read(one.progress), one.task.title)
            for one in self._flight.values()
            if one.progress.exists()
        ]

    def close(self) -> None:
        """Cancel what is in flight, which has some seconds to keep its work; then disconnect."""
        flight, self._flight = self._flight, {}
        if self._silent >= GONE:
            flight = {}  # nobody would hear of it
        try:
            for future in flight:
                self._ray.cancel(future)
            if flight:
                self._ray.wait([*flight], num_returns=len(flight), timeout=GRACE)
            for future in flight:
                self._ray.cancel(future, force=True)
        finally:
            with contextlib.suppress(OSError):
                self._mark.unlink()
            if self._connected:
                self._ray.shutdown()

    def __exit__(self, *error: object) -> None:
        self.close()
        if self._mirror and error[0] is None:
            self._mirror.look()

    def _look(self) -> None:
        """See what machines there are: they come and go."""
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + LOOK
        if self._head and (why := silence(self._head)):
            self._silent += 1
            if self._silent >= GONE:
                raise RunError(
                    f"the Ray cluster is gone ({why}); finished work is kept, the same command "
                    "goes on"
                )
            return
        self._silent = 0
        alive = [node for node in self._ray.nodes() if node["Alive"]]
        self._machines |= {node["NodeID"]: node["Resources"] for node in alive}
        self._room = int(sum(node["Resources"].get("CPU", 0) for node in alive))

    def _outcome(self, future: Any, flight: _Flight) -> Outcome:
        errors = self._ray.exceptions
        printed = tail(flight.log, flight.log_start)
        status: Status = "lost"
        try:
            outcome: Outcome = self._ray.get(future)
        except errors.RayTaskError as error:  # before the task began: an import, the disk
            last = [line for line in str(error).splitlines() if line.strip()][-1]
            status, said = "failed", last.strip()
        except errors.RayError as error:
            said = f"{type(error).__name__}: {first_line(error)}"
        else:
            if outcome.status == "failed" and printed:
                return outcome._replace(log=printed)
            return outcome
        seconds = time.monotonic() - flight.began
        name = flight.task.id
        return Outcome(name, status, error=said, log=printed, seconds=seconds, code=3)


class _Flight(NamedTuple):
    """A task that Ray was given, and the files it writes."""

    task: Task
    began: float
    log: Path
    log_start: int
    progress: Path
