"""`robbench sweep`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from robbench.cli import options as o
from robbench.cli.options import option
from robbench.cli.reporter import Reporter, fail, print_json, print_result, print_rich, reported

if TYPE_CHECKING:
    from robbench.analysis.forecast import SweepForecast
    from robbench.tasks.sweep.compared import Compared
    from robbench.tasks.sweep.run import Swept
    from robbench.tasks.sweep.start import Ahead

WHAT = "What to train and attack"
File = Annotated[
    Path | None,
    typer.Argument(
        metavar="[FILE]",
        help=r"TOML file with the tables \[sweep], \[grid], \[train] and \[attack].",
    ),
]
Grid = Annotated[
    list[str] | None,
    option(
        "-g",
        "--grid",
        panel=WHAT,
        metavar="KEY=A,B,...",
        help="A setting of train or attack and its values, such as loss=mart,trades:beta=6 or "
        "seed=0..2; may be repeated.",
    ),
]
Name = Annotated[
    str | None,
    option("--name", panel=WHAT, help="Of the sweep (default: that of the file)."),
]
Prefix = Annotated[
    str | None, option("--prefix", panel=WHAT, help="Stands before the names of its models.")
]
Steps = Annotated[
    str | None,
    option(
        "--steps",
        panel=WHAT,
        metavar="A,B,...",
        help="Of train, attack, measure, check, certify and compare (default: "
        "train,attack,compare).",
    ),
]
Data = Annotated[
    str | None,
    option("--data", panel=WHAT, metavar="SPEC", help="Data set of the trainings."),
]
Epochs = Annotated[
    str | None, option("--epochs", panel=WHAT, metavar="N", help="Of the trainings.")
]
Attacks = Annotated[
    list[str] | None,
    option(
        "-a",
        "--attack",
        panel=WHAT,
        metavar="SPEC",
        help="Attack or cascade; several form one worst case (default: apgd).",
    ),
]
Threat = Annotated[
    list[str] | None,
    option("--threat", panel=WHAT, metavar="NORM:EPS", help="Threat model of the attacks."),
]
Set = Annotated[
    list[str] | None,
    option(
        "-S",
        "--set",
        panel=WHAT,
        metavar="KEY=VALUE",
        help="Any other setting, such as lr=0.01 or attack.seed=1.",
    ),
]
Limit = Annotated[
    str | None,
    option(
        "-n",
        "--limit",
        panel=WHAT,
        metavar="N",
        help="Only the first N samples, in training and attack; stratified=N: of all classes. "
        "--set attack.limit=N leaves the training whole.",
    ),
]
Retries = Annotated[
    int,
    option(
        "--retries", panel=o.RUN, min=0, metavar="N", help="Further tries of a task that failed."
    ),
]
Processes = Annotated[
    int,
    option(
        "--processes-per-task",
        panel=o.RUN,
        min=1,
        metavar="N",
        help="Of each training, started with torchrun: it shares every batch among them.",
    ),
]
Shard = Annotated[
    str | None,
    option(
        "--shard",
        panel=o.RUN,
        metavar="i/n|slurm",
        help="Only part i of n of the models, beside processes that do the others. slurm: as the "
        "job array has it.",
    ),
]


@reported
def sweep(
    file: File = None,
    grid: Grid = None,
    name: Name = None,
    prefix: Prefix = None,
    steps: Steps = None,
    data: Data = None,
    epochs: Epochs = None,
    attacks: Attacks = None,
    threat: Threat = None,
    sets: Set = None,
    limit: Limit = None,
    jobs: o.Jobs = None,
    engine: o.EngineName = "local",
    address: o.Address = None,
    retries: Retries = 0,
    shard: Shard = None,
    processes: Processes = 1,
    out: o.Out = Path("runs"),
    device: o.Device = "auto",
    data_dir: o.DataDir = None,
    download: o.Download = False,
    trust_code: o.TrustCode = False,
    force: o.Force = False,
    dry_run: o.DryRun = False,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Train and attack a grid of settings, and compare: each part once, what is done never again.

    A killed sweep goes on with the same command. Files, keys and clusters: robbench explain sweeps.

    Example: robbench sweep --name first --grid loss=cross-entropy,trades --grid seed=0..2
    """
    from robbench.cli.sweep_lines import SweepLines
    from robbench.core.config import key_value
    from robbench.core.part import WHOLE, parse_part
    from robbench.store.address.copies import shown
    from robbench.tasks.sweep.compared import compare_sweep
    from robbench.tasks.sweep.grid import parse_axis
    from robbench.tasks.sweep.request import read_request
    from robbench.tasks.sweep.start import Place, ahead
    from robbench.tasks.sweep.start import sweep as run

    flags = {"data": data, "epochs": epochs, "attack": attacks, "threat": threat, "limit": limit}
    fixed: dict[str, Any] = {key: value for key, value in flags.items() if value is not None}
    request = read_request(
        file,
        name=name,
        grid=[parse_axis(text) for text in grid or []],
        fixed=dict(key_value(text) for text in sets or []) | fixed,
        steps=() if steps is None else [step.strip() for step in steps.split(",")],
        prefix=prefix,
    )
    place = Place(out, device=device, data_dir=data_dir, download=download, processes=processes)
    reporter, part = Reporter(quiet=quiet, verbose=verbose), parse_part(shard) if shard else WHOLE
    if dry_run:
        from robbench.tasks.sweep.forecast import forecast_sweep

        found = ahead(
            request, place, jobs=jobs, engine=engine, address=address, force=force, part=part
        )
        cost = forecast_sweep(found, place, reporter) if found.todo else None
        _print_ahead(found, cost, as_json=as_json)
        return
    with SweepLines(reporter, request.name, out) as lines:
        swept = run(
            request,
            place,
            jobs=jobs,
            engine=engine,
            address=address,
            retries=retries,
            force=force,
            part=part,
            watcher=lines,
        )
    compared = None
    if not swept.whole:
        reporter.say(f"part {part} is over; the last one, or a command without --shard, compares")
    elif "compare" in request.steps:
        compared = compare_sweep(swept, out)
    for note in [] if compared is None else _notes(compared):
        reporter.say(note)
    _print(swept, compared, out, as_json=as_json)
    reporter.say(f"tasks: {shown(swept.state.table)}")
    if error := swept.error():
        raise fail(f"{error}. The same command tries again what is not done", 3)


def _print_ahead(found: Ahead, cost: SweepForecast | None, *, as_json: bool) -> None:
    """The tasks of a sweep, which are to be done, and what that costs."""
    from robbench.reports.terminal.sweep import forecast_lines

    todo = {item.task.id for item in found.todo}
    if as_json:
        print_json(
            "robbench.sweep.plan/1",
            name=found.plan.name,
            tasks=[
                {
                    "task": item.task.id,
                    "kind": item.kind,
                    "title": item.task.title,
                    "model": item.model,
                    "settings": item.settings,
                    "after": item.task.after,
                    "done": item.task.id not in todo,
                }
                for item in found.items
            ],
            forecast=cost and dataclasses.asdict(cost),
        )
        return
    for item in found.items:
        print_result(item.task.title + ("" if item.task.id in todo else ", done"))
    for line in forecast_lines(cost) if cost else ["nothing left to do"]:
        print_result(line)


def _notes(compared: Compared) -> list[str]:
    return [*compared.notes, *(note for table in compared.tables for note in table.notes)]


def _print(swept: Swept, compared: Compared | None, out: Path, *, as_json: bool) -> None:
    tables = [] if compared is None else compared.tables
    if as_json:
        print_json(
            "robbench.sweep/1",
            name=swept.plan.name,
            table=swept.state.table,
            tasks={"total": len(swept.items), "computed": swept.computed, **swept.counts},
            failed=[
                {"task": item.task.id, "error": swept.records[item.task.id]["error"]}
                for item in swept.failed
            ],
            run_ids=swept.run_ids,
            rows=[row for table in tables for row in table.rows],
        )
        return
    from robbench.cli.compare import on_screen

    for table in tables:
        print_rich(*on_screen(table, table.rows, None, None, out))
