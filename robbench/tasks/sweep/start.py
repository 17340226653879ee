"""Plan a sweep and run it, as the command and the Python API do."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from robbench.core.part import WHOLE, Part
from robbench.execution.engines import engine_for
from robbench.store.address.copies import bring
from robbench.tasks.sweep.plan import Item, SweepPlan, plan_sweep
from robbench.tasks.sweep.request import Request
from robbench.tasks.sweep.run import Swept, Watcher, left, run_sweep
from robbench.tasks.sweep.state import SweepState


class Place:
    """Where the tasks of a sweep read and write, and what they compute on."""

    def __init__(
        self,
        out: Path,
        *,
        device: str = "auto",
        data_dir: Path | None = None,
        download: bool = False,
        processes: int = 1,
    ) -> None:
        self.out = out
        self.device = device
        self.data_dir = data_dir
        self.download = download
        self.processes = processes  # of a training

    def given(self, *, log: bool) -> dict[str, Any]:
        """What a task is given, as plain JSON; log: whether it prints its messages."""
        return {
            "out": str(self.out.absolute()),
            "device": self.device,
            "data_dir": None if self.data_dir is None else str(self.data_dir.absolute()),
            "download": self.download,
            "processes": self.processes,
            "log": log,
        }


def plan_at(request: Request, place: Place, *, force: bool = False, log: bool = False) -> SweepPlan:
    """The plan of a sweep whose tasks work at a place. Raises UserError as `plan_sweep` does."""
    bring(place.out / "models", place.out / "results")  # workers write there, and look for it
    return plan_sweep(request, place.given(log=log), force=force)


def require(
    plan: SweepPlan, todo: list[Item], place: Place, *, force: bool = False, here: bool = True
) -> None:
    """Raise UserError for tasks that cannot work. Loads torch, so only where some are left.

    here: whether they compute on this machine.
    """
    from robbench.tasks.sweep.require import require_possible

    require_possible(
        plan,
        todo,
        out=place.out,
        device=place.device if here else None,
        data_dir=place.data_dir,
        download=place.download,
        force=force,
    )


class Ahead(NamedTuple):
    """What a sweep would do: its plan, and the tasks that are not done."""

    plan: SweepPlan
    items: list[Item]  # of the part that was asked for
    todo: list[Item]


def ahead(
    request: Request,
    place: Place,
    *,
    jobs: int | None = None,
    engine: str = "local",
    address: str | None = None,
    force: bool = False,
    part: Part = WHOLE,
) -> Ahead:
    """What a sweep would do now; nothing is written. Raises UserError as `sweep` does."""
    plan = plan_at(request, place, force=force)
    state = SweepState(place.out, request.name)
    engine_for(engine, jobs=jobs, address=address, device=place.device, logs=state.logs)
    own = plan.of(part)
    todo = left(own, plan, state, state.read(), force)
    if todo:
        require(plan, todo, place, force=force, here=engine == "local")
    return Ahead(plan, own, todo)


def sweep(
    request: Request,
    place: Place,
    *,
    jobs: int | None = None,
    engine: str = "local",
    address: str | None = None,
    retries: int = 0,
    force: bool = False,
    part: Part = WHOLE,
    watcher: Watcher,
) -> Swept:
    """Run what is not done of a sweep.

    jobs, engine, address: as `engine_for` has them. retries: further tries of a task that failed.
    part: the models that are this process' own, beside others with the rest.
    Raises UserError, before anything begins, for what cannot work; what fails later is a row.
    """
    state = SweepState(place.out, request.name)
    plan = plan_at(request, place, force=force, log=engine != "local" or (jobs or 1) > 1)
    # Before anything begins, so that what is wrong with its settings is said.
    workers = engine_for(engine, jobs=jobs, address=address, device=place.device, logs=state.logs)
    return run_sweep(
        plan,
        state,
        workers,
        retries=retries,
        force=force,
        part=part,
        require=lambda todo: require(plan, list(todo), place, force=force, here=engine == "local"),
        watcher=watcher,
    )
