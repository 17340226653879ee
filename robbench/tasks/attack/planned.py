"""What a plan would run, in plain values: what `--dry-run` shows."""

from __future__ import annotations

from dataclasses import dataclass

from robbench.store.store import Store
from robbench.tasks.attack.plan import AttackPlan


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One run of a plan. audit_attacks: those that the run does not make itself.

    part: of the samples, those that this process decides; None: all. done: it is in the store
    already.
    """

    run_id: str
    model: str
    data: str
    samples: int
    part: str | None
    threat: str
    target: str | None
    attack: str
    attacks: list[str]
    audit: int | None
    audit_attack: str | None
    audit_attacks: list[str]
    adaptive: bool
    split: str
    seed: int
    batch_size: int | str
    device: str
    precision: str
    compile: bool
    max_time: float | None
    max_queries: int | None
    store_points: bool
    measure: bool
    tag: list[str]
    replay: list[str]
    done: bool


def planned_runs(plan: AttackPlan, store: Store) -> list[PlannedRun]:
    """The runs of a plan, one for each budget."""
    config = plan.config
    return [
        PlannedRun(
            run_id=run_id,
            model=plan.config.name or plan.subject.name,
            data=plan.data,
            samples=len(plan.subject.split),
            part=str(plan.part) if plan.part.count > 1 else None,
            threat=threat.text,
            target=threat.target,
            attack=plan.attack,
            attacks=[entry.spec for entry in plan.entries],
            audit=plan.audit.size if plan.audit else None,
            audit_attack=plan.audit.attack if plan.audit else None,
            audit_attacks=[entry.spec for entry in plan.all_entries[len(plan.entries) :]],
            adaptive=config.adaptive,
            split=config.split,
            seed=config.seed,
            batch_size=config.batch_size or "auto",
            device=str(plan.device),
            precision=config.precision,
            compile=config.compile,
            max_time=config.max_time,
            max_queries=config.max_queries,
            store_points=config.store_points,
            measure=config.measure,
            tag=list(config.tag),
            replay=[path.stem for path in plan.replay],
            done=store.has(run_id),
        )
        for run_id, threat in zip(plan.run_ids, plan.threats, strict=True)
    ]
