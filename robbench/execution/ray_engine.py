"""Tasks on a Ray cluster, or on a local one that is started for them."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from robbench.core.errors import RunError, UserError, text_of
from robbench.core.files import cannot_write
from robbench.execution.logs import log_path, size, tail
from robbench.execution.progress import read
from robbench.execution.ray_worker import Driver, run
from robbench.execution.task import Engine, Outcome, Running, Status, Task
from robbench.execution.worker import GRACE

LOST_TRIES = 2
"""Times that Ray itself begins a task again whose worker or machine was lost."""
CONNECT, PROBE = 5.0, 20.0
"""Seconds in which an address has to answer, and in which Ray has to be there."""
LOOK = 5.0
"""Seconds between two looks at what machines there are."""
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # under `uv run` it would upload the folder
    "RAY_BACKEND_LOG_LEVEL": "error",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a task that holds no GPU sees none
}
_PROBE = "import ray, sys; ray.init(sys.argv[1], log_to_driver=False, logging_level=40)"
_CLIENT_PORT = 10001


class Ray(Engine):
    """Up to `jobs` tasks at a time on a cluster, as many as fit if None.

    address: `auto`, HOST:PORT or ray://HOST:PORT; None: RAY_ADDRESS, else a cluster of this machine
    alone, which ends with the engine. gpus: whether tasks that do not say otherwise hold a GPU, if
    there are any. A Ray that this process is connected to already is used, and stays.

    Entering it connects. Raises UserError where Ray is not installed, RunError where no cluster
    answers.
    """

    def __init__(
        self, *, address: str | None, jobs: int | None, logs: Path, gpus: bool = True
    ) -> None:
        self._address = address or os.environ.get("RAY_ADDRESS") or "local"
        self._jobs = jobs
        self._logs = logs.absolute()
        self._gpus = gpus
        self._flight: dict[Any, _Flight] = {}
        self._machines: dict[str, dict[str, float]] = {}  # also those that are gone by now
        self._room, self._look_at = 0, 0.0

    def __enter__(self) -> Self:
        self._ray = _module()
        self._mark = self._logs / f".shared-{secrets.token_hex(8)}"
        try:
            self._logs.mkdir(parents=True, exist_ok=True)
            self._mark.touch()
        except OSError as error:
            raise cannot_write(self._mark, error) from error
        self._driver = Driver.here(self._mark)
        self._connected = not self._ray.is_initialized()
        try:
            if self._connected:
                _connect(self._ray, self._address)
            self._remote = self._ray.remote(run)
            self._look()
        except BaseException:
            self.close()
            raise
        return self

    @property
    def free(self) -> int:
        return max(self._jobs or self._room, 1) - len(self._flight)

    def start(self, task: Task) -> None:
        gpus = task.gpus
        if gpus is None:
            gpus = float(self._gpus and any(has.get("GPU") for has in self._machines.values()))
        needs, machines = {"CPU": task.cpus, "GPU": gpus}, self._machines.values()
        if not any(all(has.get(name, 0) >= n for name, n in needs.items()) for has in machines):
            raise UserError(
                f"a task needs {task.cpus} CPUs and {gpus:g} GPUs, and no machine of the cluster "
                "has so many"
            )
        log = log_path(self._logs, task.id)
        progress = log.with_suffix(".progress")
        options = self._remote.options(
            num_cpus=task.cpus,
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

    def _look(self) -> None:
        """See what machines there are: they come and go."""
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + LOOK
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
            said = f"{type(error).__name__}: {_first_line(error)}"
        else:
            return outcome._replace(log=printed) if outcome.status == "failed" else outcome
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


def _module() -> Any:
    """Ray, with its settings made before it is imported."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise UserError("Ray is not installed: pip install 'robbench[ray]'") from error


def _connect(ray: Any, address: str) -> None:
    """Connect to a cluster or start one, and say in one line why that fails."""
    _require_answer(address)
    with _signals_kept():
        try:
            ray.init(
                address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                **({"include_dashboard": False} if address == "local" else {}),
            )
        except Exception as error:  # many kinds, of Ray and of what it is made of
            what = "cannot be started" if address == "local" else f"at {address} does not answer"
            raise RunError(
                f"the Ray cluster {what}: {type(error).__name__}, {_first_line(error)}"
            ) from error


def _require_answer(address: str) -> None:
    """Raise RunError where no Ray answers: Ray itself takes minutes to say so, in many lines."""
    found = re.fullmatch(r"(ray://)?(\[[^\]]+\]|[^:/]+)(?::(\d+))?", address)
    if address in ("auto", "local"):
        return
    if found is None or not (found[1] or found[3]):
        raise UserError(f"address '{address}' should be auto, HOST:PORT or ray://HOST:PORT")
    try:
        place = (found[2].strip("[]"), int(found[3] or _CLIENT_PORT))
        socket.create_connection(place, timeout=CONNECT).close()
    except (OSError, OverflowError) as error:
        raise RunError(f"no Ray cluster answers at {address}: {error}") from error
    probe = [sys.executable, "-c", _PROBE, address]
    try:
        subprocess.run(probe, capture_output=True, text=True, timeout=PROBE, check=True)
    except subprocess.TimeoutExpired:
        raise RunError(
            f"no Ray cluster answers at {address}: nothing came in {PROBE:.0f} s"
        ) from None
    except subprocess.CalledProcessError as error:
        said = [line for line in error.stderr.splitlines() if line.strip()] or [""]
        raise RunError(f"no Ray cluster answers at {address}: {said[-1].strip()}") from None


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray puts its own handlers in place of ours."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in text_of(error).splitlines() if line.strip()]
    return lines[0] if lines else ""
