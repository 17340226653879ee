"""What the tasks of a sweep call: the plain commands' use cases, with plain data in and out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from robbench.core.config import process_number
from robbench.core.device import find_device
from robbench.core.spec import finite, validate
from robbench.store.store import Store
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.attack.plan import AttackPlan, plan_attacks
from robbench.tasks.attack.run import attack as attack_plans
from robbench.tasks.certify import METHOD
from robbench.tasks.certify import certify as certify_model
from robbench.tasks.check.run import check as check_run
from robbench.tasks.in_worker import WorkerListener
from robbench.tasks.listener import Listener
from robbench.tasks.measure.measurer import Measurer
from robbench.tasks.measure.observer import Observer
from robbench.tasks.measure.run import measure_run
from robbench.tasks.sweep.torchrun import train_together
from robbench.tasks.train.folder import TrainingFolder
from robbench.tasks.train.listen import run_training
from robbench.tasks.train.plan import plan_training
from robbench.tasks.train.settings import settings_with_recipe

Payload = Mapping[str, Any]


class _Place(NamedTuple):
    """Where a task reads and writes, and what it computes on."""

    out: Path
    device: str
    data_dir: Path | None
    download: bool
    force: bool
    listener: Listener


def train(payload: Payload) -> Any:
    """Train a model, or find it there: its name and identity, and its accuracies in validation."""
    place = _place(payload)
    plan = plan_training(
        settings_with_recipe(payload["settings"], place.out),
        name=payload["name"],
        out=place.out,
        device=place.device,
        data_dir=place.data_dir,
        download=place.download,
    )
    processes, alone = payload["place"]["processes"], process_number("WORLD_SIZE", 1) == 1
    if together := (
        alone and processes > 1 and not TrainingFolder(plan, force=place.force).finished()
    ):
        train_together(payload, processes, place.listener.say)  # then it is found
    done = run_training(plan, place.listener, force=place.force and not together)
    row = done.rows[done.config["selected"]["epoch"] - 1]
    accuracies = {name: row[name] for name in ("clean_accuracy", "robust_accuracy")}
    fresh = together or done.fresh
    return finite({"model": plan.name, "identity": plan.identity, "fresh": fresh, **accuracies})


def attack(payload: Payload) -> dict[str, Any]:
    """Attack a model, or find its runs there: their ids and robust accuracies."""
    place, plans = _place(payload), _plans(payload)
    store = Store(place.out)
    had = {run_id for plan in plans for run_id in plan.run_ids if store.has(run_id)}
    found = attack_plans(
        plans,
        store,
        force=place.force,
        data_dir=place.data_dir,
        download=place.download,
        listener=place.listener,
    )
    infos = [one.run.info for one in found]
    return {
        "model": payload["model"],
        "fresh": place.force or not all(info["run_id"] in had for info in infos),
        "run_ids": [info["run_id"] for info in infos],
        "threats": [one.plan.threats[one.eps_index].text for one in found],
        "clean_accuracy": [info["clean_accuracy"] for info in infos],
        "robust_accuracy": [info["robust_accuracy"] for info in infos],
    }


def measure(payload: Payload) -> dict[str, Any]:
    """Measure the runs of an attack."""
    place = _place(payload)
    store = Store(place.out)
    observer = Observer(find_device(place.device), place.data_dir, place.download)
    measurer = Measurer(store, observer, say=place.listener.say)
    found = [
        measure_run(
            measurer,
            store.run_path(run_id),
            place.listener,
            force=place.force,
            subject=plan.subject,
        )
        for plan in _plans(payload)
        for run_id in plan.run_ids
    ]
    return {"fresh": any(one.fresh for one in found), **_runs(one.info["run_id"] for one in found)}


def check(payload: Payload) -> dict[str, Any]:
    """Check the runs of an attack; a failed check is a finding, no failure of the task."""
    place = _place(payload)
    run_ids = [run_id for plan in _plans(payload) for run_id in plan.run_ids]
    found = [
        check_run(
            run_id,
            {},
            out=place.out,
            device=place.device,
            data_dir=place.data_dir,
            download=place.download,
            listener=place.listener,
        )
        for run_id in run_ids
    ]
    return {"fresh": True, "failed_checks": sum(one.failed for one in found), **_runs(run_ids)}


def certify(payload: Payload) -> dict[str, Any]:
    """Certify a model: the certified share under each threat model, or the median radius."""
    place, settings = _place(payload), dict(payload["settings"])
    found = certify_model(
        [payload["model"]],
        settings,
        method=settings.pop("method", METHOD),
        out=place.out,
        device=place.device,
        data_dir=place.data_dir,
        download=place.download,
        force=place.force,
        listener=place.listener,
    )
    return {
        "fresh": any(one.fresh for one in found),
        **{
            name: {one.threat: at[name] for one in found if name in (at := one.bracket.fields())}
            for name in ("certified_accuracy", "certified_radius_p50")
        },
        **_runs(()),
    }


def _runs(run_ids: Any) -> dict[str, Any]:
    return {"run_ids": list(run_ids)}


def _plans(payload: Payload) -> list[AttackPlan]:
    place, given = _place(payload), {**payload["settings"], "tag": payload["tags"]}
    return list(
        plan_attacks(
            [payload["model"]],
            validate(AttackConfig, given, "attack"),
            out=place.out,
            device=place.device,
            data_dir=place.data_dir,
            download=place.download,
        )
    )


def _place(payload: Payload) -> _Place:
    given = payload["place"]
    folder = given["data_dir"]
    return _Place(
        Path(given["out"]),
        given["device"],
        None if folder is None else Path(folder),
        given["download"],
        given["force"],
        WorkerListener() if given["log"] else Listener(),
    )
