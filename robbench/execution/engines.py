"""Which engine runs the tasks of a command."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from robbench.core.errors import UserError
from robbench.core.spec import build, parse_spec
from robbench.execution.inline import Inline
from robbench.execution.processes import Processes
from robbench.execution.task import Engine
from robbench.store.address.copies import mirror_of


@dataclass(frozen=True)
class LocalOptions:
    """The machine itself: `--jobs` and OMP_NUM_THREADS say all."""


@dataclass(frozen=True)
class RayOptions:
    """What each task holds on a Ray cluster, where the task itself is not to say.

    cpus: cores, and threads that it computes with. gpus: a number of GPUs or a part of one.
    """

    cpus: Annotated[int, Field(ge=1)] | None = None
    gpus: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


ENGINES: dict[str, type[LocalOptions | RayOptions]] = {"local": LocalOptions, "ray": RayOptions}


def engine_for(
    engine: str = "local",
    *,
    jobs: int | None = None,
    address: str | None = None,
    device: str = "auto",
    logs: Path,
) -> Engine:
    """The engine for tasks, which the caller opens and leaves as a context manager.

    engine: `local`, `ray`, or `ray:cpus=2,gpus=0.5` with what each task holds. jobs: tasks at a
    time; None: one, on Ray as many as fit. address: of a Ray cluster. device: what the tasks
    compute on, as `--device` has it. logs: a folder, where each task's output goes.

    Raises UserError for values that do not fit each other, before anything is started.
    """
    spec = parse_spec(engine)
    if spec.name not in ENGINES:
        raise UserError(f"unknown engine '{spec.name}': use local or ray")
    options = build(ENGINES[spec.name], spec, f"engine {spec.name}")
    if jobs is not None and jobs < 1:
        raise UserError(f"jobs should be 1 or more, not {jobs}")
    if address is not None and spec.name != "ray":
        raise UserError("address names a Ray cluster: use it with engine ray")
    if isinstance(options, RayOptions):
        if options.gpus and options.gpus > 1 and options.gpus % 1:
            raise UserError(
                f"engine ray: gpus should be whole or a part of one, not {options.gpus}"
            )
        if device not in ("auto", "cpu", "cuda", "mps"):
            raise UserError(
                f"Ray chooses the GPU of each task: use device cuda, cpu or auto, not '{device}'"
            )
        from robbench.execution.ray_connect import LOCAL, address_of
        from robbench.execution.ray_engine import Ray

        where = address_of(address)
        return Ray(
            address=where,
            jobs=jobs,
            logs=logs,
            mirror=None if where == LOCAL else mirror_of(logs),
            cpus=options.cpus,
            gpus=0.0 if device == "cpu" else options.gpus,
        )
    if jobs is None or jobs == 1:
        return Inline()
    threads = max(_cores() // jobs, 1)
    return Processes(jobs, logs=logs, threads=threads, gpus=gpus() if _deals(device) else ())


def gpus() -> list[str]:
    """The GPUs of this machine that this process may use, as CUDA_VISIBLE_DEVICES has them."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        return [name.strip() for name in allowed.split(",") if name.strip() not in ("", "-1")]
    try:
        listed = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    found = [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]
    return [str(number) for number in range(len(found))]


def _deals(device: str) -> bool:
    """Whether each worker gets its own GPU: not where one is named, or none is wanted."""
    return device in ("auto", "cuda")


def _cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
