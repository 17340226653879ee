"""Attack models by name, and what `evaluate` and `attack` have in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from robbench.api.arguments import optional_whole, seconds, texts
from robbench.api.evaluation import Evaluation
from robbench.api.progress import Log, Progress, interruptible, log, silent
from robbench.api.results import Names, models_of
from robbench.api.specs import Attacks, attack_texts
from robbench.api.wording import pythonic
from robbench.core.spec import validate
from robbench.store.store import Store
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.attack.parts import Workers, part_of
from robbench.tasks.attack.plan import AttackPlan, plan_attacks
from robbench.tasks.attack.run import attack as attack_plans


@pythonic
def attack(
    models: Names,
    attack: Attacks = (),
    threat: Names = (),
    *,
    audit: int | None = None,
    audit_attack: Attacks = (),
    adaptive: bool | None = None,
    target: str | int | None = None,
    data: str | None = None,
    split: str | None = None,
    limit: int | str | None = None,
    seed: int | None = None,
    batch_size: int | None = None,
    precision: str | None = None,
    compile: bool | None = None,
    max_time: str | float | None = None,
    max_queries: int | None = None,
    store_points: bool | None = None,
    replay: Names = (),
    measure: bool = False,
    shard: str | None = None,
    jobs: int | None = None,
    engine: str = "local",
    address: str | None = None,
    name: str | None = None,
    tags: Names = (),
    device: str = "auto",
    out: Path | str = "runs",
    data_dir: Path | str | None = None,
    download: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> list[Evaluation]:
    """Attack models by their names, as `robbench attack` does: one Evaluation per model and threat.

    models: names in `out`, patterns of them, folders of saved models, or specs. name: what results
    call the model; tags: texts or `key=value`, kept with each run. The other settings are those of
    the command; see `evaluate` for attack, threat and the limits. shard: such as `2/8`, only a part
    of the samples, beside other processes; a run that others have still to finish is not among the
    results. jobs, engine, address: worker processes that decide the samples. Raises UserError for
    anything that cannot work, before anything is written.
    """
    config = validate(
        AttackConfig,
        given(
            attack=attack_texts(attack),
            audit=audit,
            audit_attack=attack_texts(audit_attack),
            adaptive=adaptive,
            threat=texts("threat as text", threat),
            target=None if target is None else str(target),
            data=data,
            split=split,
            limit=limit,
            seed=seed,
            batch_size=batch_size,
            precision=precision,
            compile=compile,
            store_points=store_points,
            replay=texts("replay as text", replay),
            measure=measure,
            name=name,
            tag=texts("tags as text", tags),
            max_time=seconds(max_time),
            max_queries=max_queries,
        ),
        "attack",
    )
    folder = None if data_dir is None else Path(data_dir)
    part = part_of(shard, force=force)
    workers = Workers(engine, optional_whole("jobs", jobs, 1), address, device, folder, download)
    plans = list(
        plan_attacks(
            models_of(models),
            config,
            out=Path(out),
            device=device,
            data_dir=folder,
            download=download,
            part=part,
        )
    )
    return run_plans(
        plans,
        Store(out),
        force=force,
        progress=progress or silent,
        data_dir=folder,
        download=download,
        workers=workers,
    )


def run_plans(
    plans: Sequence[AttackPlan],
    store: Store,
    *,
    force: bool,
    progress: Progress,
    data_dir: Path | None = None,
    download: bool = False,
    workers: Workers | None = None,
) -> list[Evaluation]:
    """Run plans with their automatic checks and measures, or find them done."""
    for note in dict.fromkeys(note for plan in plans for note in plan.subject.split.notes):
        log.info(note)
    with interruptible():
        found = attack_plans(
            plans,
            store,
            force=force,
            data_dir=data_dir,
            download=download,
            workers=workers,
            listener=Log(progress),
        )
    return [
        Evaluation(
            one.run,
            one_budget(one.plan, one.eps_index),
            path=store.run_path(one.run.info["run_id"]),
        )
        for one in found
    ]


def one_budget(plan: AttackPlan, n: int) -> AttackPlan:
    """The plan of one of its runs."""
    return dataclasses.replace(
        plan,
        threats=(plan.threats[n],),
        identities=(plan.identities[n],),
        run_ids=(plan.run_ids[n],),
    )


def given(**settings: Any) -> dict[str, Any]:
    """The settings that were given: those that are not None."""
    return {name: value for name, value in settings.items() if value is not None}
