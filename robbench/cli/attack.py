"""`robbench attack`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robbench.cli import options as o
from robbench.cli.measure import describe as describe_measures
from robbench.cli.measure import show as show_measures
from robbench.cli.options import option
from robbench.cli.reporter import Reporter, print_json, print_rich, reported

if TYPE_CHECKING:
    from robbench.tasks.attack.run import Attacked

WHAT = "What to attack, and how"
Models = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL...",
        help="A trained model by its name (NAME@best, NAME@last, 'NA*') or folder; or a spec: "
        "my_models:make, checkpoint:FILE,arch=SPEC, timm:resnet50, onnx:FILE, ... "
        "(robbench explain models).",
    ),
]
Attacks = Annotated[
    list[str] | None,
    option(
        "-a",
        "--attack",
        panel=WHAT,
        metavar="SPEC",
        help="Attack or cascade, such as apgd:steps=50 or autoattack, or a .toml file with a "
        "list of them; several form one worst case per sample (default: apgd).",
    ),
]
Audit = Annotated[
    str | None,
    option(
        "--audit",
        panel=WHAT,
        metavar="N",
        help="Then give N of the samples that no attack broke, drawn at random, a stronger "
        "attack: what it breaks counts, and bounds what a full run would break.",
    ),
]
AuditAttacks = Annotated[
    list[str] | None,
    option(
        "--audit-attack",
        panel=WHAT,
        metavar="SPEC",
        help="Attack or cascade of the audit; may be repeated (default: autoattack).",
    ),
]
Adaptive = Annotated[
    bool,
    option(
        "--adaptive",
        panel=WHAT,
        help="Audit all samples that no attack broke where gradients look masked.",
    ),
]
Threat = Annotated[
    list[str] | None,
    option(
        "--threat",
        panel=WHAT,
        metavar="NORM:EPS",
        help="Threat model; several, or linf:2/255,8/255, give one run each; "
        "l2:inf seeks the smallest perturbation, corruption:fog@3 corrupts images "
        "(default: the data set's).",
    ),
]
Target = Annotated[
    str | None,
    option(
        "--target",
        panel=WHAT,
        metavar="TARGET",
        help="Only a point predicted as this class is a success: a class, least-likely, random "
        "or column:NAME of the data (default: any mistake).",
    ),
]
Data = Annotated[
    str | None,
    option(
        "--data",
        panel=WHAT,
        metavar="SPEC",
        help="Data set: cifar10, folder:DIR, npz:FILE, csv:FILE,label=COLUMN, ... "
        "(robbench explain data; default: what the model was trained on).",
    ),
]
Split = Annotated[
    str | None, option("--split", panel=WHAT, help="test, train, validation, ... (default: test).")
]
Precision = Annotated[
    str | None,
    option(
        "--precision",
        panel=o.RUN,
        metavar="fp32|bf16|fp64",
        help="Of the search; every success is confirmed in float32.",
    ),
]
Compile = Annotated[
    bool, option("--compile", panel=o.RUN, help="Compile the model that the attacks see.")
]
MaxTime = Annotated[
    str | None,
    option(
        "--max-time",
        panel=o.RUN,
        metavar="TIME",
        help="Stop each run after 90s, 2m or 1h; unfinished samples are marked.",
    ),
]
MaxQueries = Annotated[
    str | None,
    option(
        "--max-queries",
        panel=o.RUN,
        metavar="N",
        help="Stop on each sample after N forwards, the clean one included; backwards and "
        "re-checks of points found come on top. Unfinished samples are marked.",
    ),
]
StorePoints = Annotated[
    bool, option("--store-points", panel=o.RUN, help="Keep the worst inputs, for --replay.")
]
Replay = Annotated[
    list[str] | None,
    option(
        "--replay",
        panel=o.RUN,
        metavar="RUN",
        help="Try the stored points of a run or model first.",
    ),
]

Measure = Annotated[
    bool,
    option(
        "--measure",
        panel=o.RUN,
        help="Keep the worst inputs and measure each run at the end, as robbench measure does.",
    ),
]


Name = Annotated[
    str | None,
    option("--name", panel=o.RUN, metavar="NAME", help="What tables call the model."),
]
Tag = Annotated[
    list[str] | None,
    option(
        "--tag",
        panel=o.RUN,
        metavar="KEY=VALUE|TEXT",
        help="Kept with each run, for compare --where tag=...; may be repeated.",
    ),
]


Shard = Annotated[
    str | None,
    option(
        "--shard",
        panel=o.RUN,
        metavar="i/n|slurm",
        help="Decide only part i of n of the samples, beside processes that decide the others; "
        "whoever decides the last writes the run. slurm: as the job array has it.",
    ),
]


@reported
def attack(
    models: Models,
    attacks: Attacks = None,
    audit: Audit = None,
    audit_attack: AuditAttacks = None,
    adaptive: Adaptive = False,
    threat: Threat = None,
    target: Target = None,
    data: Data = None,
    split: Split = None,
    batch_size: o.BatchSize = None,
    precision: Precision = None,
    compile_: Compile = False,
    max_time: MaxTime = None,
    max_queries: MaxQueries = None,
    store_points: StorePoints = False,
    replay: Replay = None,
    measure: Measure = False,
    shard: Shard = None,
    jobs: o.Jobs = None,
    engine: o.EngineName = "local",
    address: o.Address = None,
    name: Name = None,
    tag: Tag = None,
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
    from robbench.analysis.compare import compare
    from robbench.analysis.corrupted import under_corruptions
    from robbench.core.config import load_config
    from robbench.store.address.copies import shown
    from robbench.store.store import Store
    from robbench.tasks.attack.config import AttackConfig
    from robbench.tasks.attack.forecast import forecast_attack
    from robbench.tasks.attack.parts import Workers, part_of
    from robbench.tasks.attack.plan import plan_attacks
    from robbench.tasks.attack.planned import planned_runs
    from robbench.tasks.attack.run import attack as run
    from robbench.tasks.attack.run import forecast_all

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
    reporter, store = Reporter(quiet=quiet, verbose=verbose), Store(out)
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
    if dry_run:
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
        workers=Workers(engine, jobs, address, device, data_dir, download),
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
