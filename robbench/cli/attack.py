"""`robbench attack`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from robbench.cli import attack_options as a
from robbench.cli import options as o
from robbench.cli.measure import describe as describe_measures
from robbench.cli.measure import show as show_measures
from robbench.cli.reporter import Reporter, print_json, print_rich, reported

if TYPE_CHECKING:
    from robbench.store.store import Store
    from robbench.tasks.attack.plan import AttackPlan
    from robbench.tasks.attack.run import Attacked


@reported
def attack(
    models: a.Models,
    attacks: a.Attacks = None,
    audit: a.Audit = None,
    audit_attack: a.AuditAttacks = None,
    adaptive: a.Adaptive = False,
    threat: a.Threat = None,
    target: a.Target = None,
    data: a.Data = None,
    split: a.Split = None,
    batch_size: o.BatchSize = None,
    precision: a.Precision = None,
    compile_: a.Compile = False,
    max_time: a.MaxTime = None,
    max_queries: a.MaxQueries = None,
    store_points: a.StorePoints = False,
    replay: a.Replay = None,
    measure: a.Measure = False,
    shard: a.Shard = None,
    jobs: o.Jobs = None,
    engine: o.EngineName = "local",
    address: o.Address = None,
    name: a.Name = None,
    tag: a.Tag = None,
    out: o.Out = Path("runs"),
    seed: o.Seed = None,
    device: o.Device = "auto",
    limit: o.Limit = None,
    config: o.Config = None,
    sets: o.Set = None,
    data_dir: o.DataDir = None,
    download: o.Download = False,
    trust_code: o.TrustCode = False,
    force: o.Force = False,
    dry_run: o.DryRun = False,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Attack models and write a verdict for every sample.

    Example: robbench attack ce at --attack pgd:steps=10 --attack apgd --threat linf:0.15
    """
    from robbench.store.store import Store
    from robbench.tasks.model_names import known_models

    store = Store(out)
    known_models(models, store)  # before torch, which takes seconds to load
    from robbench.analysis.compare import compare
    from robbench.analysis.corrupted import under_corruptions
    from robbench.core.config import load_config
    from robbench.store.address.copies import shown
    from robbench.tasks.attack.config import AttackConfig
    from robbench.tasks.attack.parts import Workers, part_of
    from robbench.tasks.attack.plan import plan_attacks
    from robbench.tasks.attack.run import attack as run
    from robbench.tasks.attack.run import require_possible

    flags = {
        "attack": attacks,
        "audit": audit,
        "audit_attack": audit_attack,
        "adaptive": adaptive,
        "threat": threat,
        "target": target,
        "data": data,
        "split": split,
        "batch_size": batch_size,
        "precision": precision,
        "compile": compile_,
        "max_time": max_time,
        "max_queries": max_queries,
        "store_points": store_points,
        "replay": replay,
        "measure": measure,
        "name": name,
        "tag": tag,
        "seed": seed,
        "limit": limit,
    }
    part = part_of(shard, force=force)
    settings = load_config(AttackConfig, "attack", file=config, sets=sets or [], flags=flags)
    reporter = Reporter(quiet=quiet, verbose=verbose)
    # All plans first: a mistake in the last model must not cost the first one's hours.
    plans = list(
        plan_attacks(
            models,
            settings,
            out=out,
            device=device,
            data_dir=data_dir,
            download=download,
            part=part,
        )
    )
    for note in dict.fromkeys(
        f"{plan.data}: {note}" for plan in plans for note in plan.subject.split.notes
    ):
        reporter.say(note)
    workers = Workers(engine, jobs, address, device, data_dir, download)
    if dry_run:
        require_possible(plans, store, workers, force=force)
        _print_plan(plans, store, reporter, force=force)
        return

    def show_rows(found: list[Attacked]) -> None:
        if found and not as_json:  # before measuring: whatever comes of that, this is known
            from robbench.reports.terminal.compare import comparison_table

            runs = [one.run for one in found]
            print_rich(comparison_table(compare(runs), corrupted=under_corruptions(runs)))

    found = run(
        plans,
        store,
        force=force,
        data_dir=data_dir,
        download=download,
        workers=workers,
        listener=reporter,
        attacked=show_rows,
    )
    measured = [one.measured for one in found if one.measured]
    if as_json:
        more = {"measures": describe_measures(measured)} if settings.measure else {}
        made = [one.run for one in found]
        if corrupted := under_corruptions(made):
            more["corruptions"] = corrupted
        print_json("robbench.attack/1", rows=compare(made) if found else [], **more)
    else:
        show_measures(measured)
    if found and not as_json:
        reporter.say(f"per-sample results: {shown(store.root / 'results' / 'samples')}")


def _print_plan(
    plans: Sequence[AttackPlan], store: Store, reporter: Reporter, *, force: bool
) -> None:
    """What would be done, and how long it would take, as JSON."""
    from robbench.tasks.attack.forecast import forecast_attack
    from robbench.tasks.attack.planned import planned_runs
    from robbench.tasks.attack.run import forecast_all

    estimates = forecast_all(plans, store, reporter, force=force)
    forecasts = [
        found or forecast_attack(plan, store, force=force)  # also with --quiet
        for plan, found in zip(plans, estimates, strict=True)
    ]
    runs = [run for plan in plans for run in planned_runs(plan, store)]
    print_json(
        "robbench.attack.plan/1",
        runs=[dataclasses.asdict(run) for run in runs],
        forecasts=[
            {"run_ids": plan.run_ids, **found.fields()}
            for plan, found in zip(plans, forecasts, strict=True)
        ],
    )
