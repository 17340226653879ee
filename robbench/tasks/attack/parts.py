"""One attack over many workers: each decides a part of the samples, as a task of an engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from robbench.core.errors import RunError, UserError
from robbench.core.part import WHOLE, Part, parse_part
from robbench.core.spec import validate
from robbench.execution.driver import BAD_INPUT, drive
from robbench.execution.engines import engine_for
from robbench.execution.inline import Inline
from robbench.execution.task import Engine, Outcome, Task
from robbench.store.address.copies import mirror_of
from robbench.store.store import Store
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.attack.earlier import decided, decided_by_all, finished, places_of
from robbench.tasks.attack.job import AttackJob
from robbench.tasks.attack.plan import AttackPlan, plan_attacks
from robbench.tasks.in_worker import WorkerBar, WorkerListener
from robbench.tasks.signals import stop_flag

LOST = 1
"""Times that a part is tried again whose worker died."""


def part_of(shard: str | None, *, force: bool) -> Part:
    """The part that `--shard` names, all without it; UserError for one with `force` too."""
    part = WHOLE if shard is None else parse_part(shard)
    if part.count > 1 and force:
        raise UserError(
            "--force with --shard: a part does not know which samples the others have decided "
            "anew: leave out --force, or attack again without --shard"
        )
    return part


class Workers(NamedTuple):
    """Where the parts of attacks are decided, as `--jobs`, `--engine` and `--address` have it.

    device, data_dir, download: what a worker plans with, as the command does.
    """

    engine: str = "local"
    jobs: int | None = None
    address: str | None = None
    device: str = "auto"
    data_dir: Path | None = None
    download: bool = False

    def crew(self, plans: Sequence[AttackPlan], store: Store) -> Crew | None:
        """The workers for some plans, not started yet; None where this process is enough.

        Raises UserError for values that do not fit each other, for plans with a limit of time, and
        for parts of any kind at an address.
        """
        logs = store.root / "results" / "logs"
        engine = engine_for(
            self.engine, jobs=self.jobs, address=self.address, device=self.device, logs=logs
        )
        alone = isinstance(engine, Inline)
        mirror = mirror_of(store.root)
        if mirror is not None and not (alone and all(plan.part == WHOLE for plan in plans)):
            # Parts find each other's samples, and who is at them, in a folder alone.
            raise UserError(
                f"--out {mirror.place}: parts of an attack need a folder that their "
                "processes share: attack with --out FOLDER, and copy it to the address afterwards"
            )
        if alone:
            return None
        if any(plan.config.max_time is not None for plan in plans):
            raise UserError(
                "--max-time is the time of a whole run, not of its parts: leave it out, or limit "
                "each sample with --max-queries"
            )
        return Crew(self, store, engine)


class Crew(NamedTuple):
    """Workers for attacks, while their engine is open: a part of each plan for each."""

    workers: Workers
    store: Store
    engine: Engine

    def decide(self, job: AttackJob, *, force: bool) -> None:
        """Decide and audit the samples of a job in parts; the job itself then finds all done.

        Raises RunError or UserError where a part was not done; what was decided is kept.
        """
        plan = job.plan
        if not force and finished(plan, self.store):
            return
        if force:
            with self.store.locked(
                plan.run_ids, say=job.listener.say, asked_to_stop=job.stop.check
            ):
                for run_id in plan.run_ids:
                    self.store.partial(run_id).discard()
        own = set(plan.part.of(len(plan.subject.split)))
        places = places_of(plan, self.store, again=force)
        if not own <= decided_by_all(decided(plan, places.partials)):
            self._round(job, again=force, audit=False)
        if plan.audit is None or plan.part.count > 1:
            return
        # What is drawn at a budget, and whether more is to be audited, rests on the one before.
        for _ in range(len(plan.threats) * (2 if plan.audit.adaptive else 1)):
            if self._round(job, again=force, audit=True):
                return

    def _round(self, job: AttackJob, *, again: bool, audit: bool) -> bool:
        """Every part once; whether one of them found nothing left."""
        plan = job.plan
        samples = len(plan.part.of(len(plan.subject.split)))
        parts = plan.part.cut(min(self.workers.jobs or self.engine.free, samples))
        tasks = [
            Task(
                id=f"{plan.run_ids[0]}.part-{part.number}-of-{part.count}",
                call=f"{__name__}:decide_part",
                payload=self._payload(plan, part, again, audit),
                title=f"{plan.title}, part {part}",
                gpus=float(plan.device.type == "cuda"),
            )
            for part in parts
        ]
        titles = {task.id: f"part {part}" for task, part in zip(tasks, parts, strict=True)}
        ended: dict[str, Outcome] = {}

        def tick() -> None:
            job.stop.check()
            running = self.engine.running()
            share = (len(ended) + sum(one.share for one in running)) / len(tasks)
            what = "audited" if audit else "decided"
            job.bar.update(share, f"{len(ended)}/{len(tasks)} parts {what}")
            for one in running:
                if text := one.text.partition(",")[0]:  # none while its process starts
                    job.bar.part(titles[one.task], round(100 * one.share), 100, text)

        for tried in drive(tasks, self.engine, retries=LOST, tick=tick):
            ended[tried.task] = tried
        for tried in ended.values():
            if tried.status != "done":
                raise _failure(titles[tried.task], tried)
        return any(tried.value and tried.value["nothing_left"] for tried in ended.values())

    def _payload(self, plan: AttackPlan, part: Part, again: bool, audit: bool) -> dict[str, Any]:
        workers = self.workers
        return {
            "model": plan.subject.name,
            "config": dataclasses.asdict(plan.config),
            "run_ids": list(plan.run_ids),
            "part": list(part),
            "again": again,
            "audit": audit,
            "out": str(self.store.root),
            "device": workers.device,
            "data_dir": workers.data_dir and str(workers.data_dir.absolute()),
            "download": workers.download,
        }


def decide_part(payload: Mapping[str, Any]) -> dict[str, bool]:
    """What a worker does: decide a part of an attack, given in plain data.

    Raises RunError where the model or the data are others than where the attack was planned.
    """
    plans = plan_attacks(
        [payload["model"]],
        validate(AttackConfig, payload["config"], "attack"),
        out=Path(payload["out"]),
        device=payload["device"],
        data_dir=payload["data_dir"] and Path(payload["data_dir"]),
        download=payload["download"],
        part=Part(*payload["part"]),
    )
    wanted = tuple(payload["run_ids"])
    plan = next((plan for plan in plans if plan.run_ids == wanted), None)
    if plan is None:
        raise RunError(
            f"model {payload['model']} or its data are others in the worker than in the command: "
            f"run {wanted[0]} is not planned there"
        )
    listener = WorkerListener()
    with stop_flag(listener.say) as stop:
        job = AttackJob(plan, Store(payload["out"]), listener, WorkerBar(), stop, None)
        done = job.run_part(again=payload["again"], audit=payload["audit"])
        stop.check()
    return {"nothing_left": done.audited if payload["audit"] else done.whole}


def _failure(part: str, tried: Outcome) -> Exception:
    kind: Callable[[str], Exception] = UserError if tried.code == BAD_INPUT else RunError
    said = tried.error or f"its worker died, {LOST + 1} times"
    return kind(f"{part}: {said}; decided samples are kept, the same command goes on")
