"""`robbench train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from robbench.cli import options as o
from robbench.cli.options import option
from robbench.cli.reporter import Reporter, print_json, print_result, reported

WHAT = "What to train"
Recipe = Annotated[
    str | None,
    option(
        "--recipe",
        panel=WHAT,
        metavar="NAME",
        help="Settings that ship with robbench (`robbench list recipes`), below all others.",
    ),
]
Loss = Annotated[
    str | None,
    option(
        "--loss",
        panel=WHAT,
        metavar="SPEC",
        help="Loss, such as trades:beta=6 (default: cross-entropy).",
    ),
]
Data = Annotated[
    str | None,
    option(
        "--data",
        panel=WHAT,
        metavar="SPEC",
        help="Data set, such as 'cifar10\\[airplane,horse]' (default: digits).",
    ),
]
Model = Annotated[
    str | None,
    option("--model", panel=WHAT, metavar="SPEC", help="Architecture (default: small-cnn)."),
]
Inner = Annotated[
    str | None,
    option(
        "--inner",
        panel=WHAT,
        metavar="SPEC",
        help="Inner attack (adversarial training) such as pgd:steps=10, or none.",
    ),
]
Threat = Annotated[
    str | None,
    option(
        "--threat",
        panel=WHAT,
        metavar="NORM:EPS",
        help="Threat model of inner attack and validation (default: the data set's).",
    ),
]
From = Annotated[
    str | None,
    option(
        "--from",
        panel=WHAT,
        metavar="NAME|PATH",
        help="Start from the weights of a trained model (fine-tuning): "
        "its architecture and data are the default then.",
    ),
]
Teacher = Annotated[
    str | None,
    option(
        "--teacher",
        panel=WHAT,
        metavar="NAME|PATH|average",
        help="What losses such as hat or adr learn from: a trained model, or the running average "
        "of the weights (--set average=ema).",
    ),
]
Name = Annotated[
    str | None, option("--name", panel=o.PLACE, help="Name of the model (default: the loss).")
]
Epochs = Annotated[
    int | None, option("--epochs", panel=o.RUN, help="Passes over the training data (default: 20).")
]
BatchSize = Annotated[
    int | None, option("-b", "--batch-size", panel=o.RUN, help="Samples per step (default: 64).")
]
Rate = Annotated[
    str | None, option("--lr", panel=o.RUN, help="Peak learning rate (default: 0.003).")
]
Optimizer = Annotated[
    str | None, option("--optimizer", panel=o.RUN, help="sgd, adam or adamw (default: adam).")
]


@reported
def train(
    recipe: Recipe = None,
    loss: Loss = None,
    data: Data = None,
    model: Model = None,
    from_model: From = None,
    teacher: Teacher = None,
    inner: Inner = None,
    threat: Threat = None,
    name: Name = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    lr: Rate = None,
    optimizer: Optimizer = None,
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
    """Train a model under any registered loss.

    Example: robbench train --loss cross-entropy --inner pgd:steps=7 --threat linf:0.15 --name at
    """
    from robbench.core.config import process_number
    from robbench.store.address.copies import shown
    from robbench.tasks.train.folder import TrainingFolder
    from robbench.tasks.train.plan import plan_training
    from robbench.tasks.train.settings import read_settings

    flags = {
        "loss": loss,
        "data": data,
        "model": model,
        "from_model": from_model,
        "teacher": teacher,
        "inner": inner,
        "threat": threat,
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "optimizer": optimizer,
        "seed": seed,
        "limit": limit,
    }
    settings = read_settings(recipe=recipe, file=config, sets=sets or [], flags=flags, out=out)
    first = process_number("RANK", 0) == 0  # of the processes of torchrun, the first one reports
    reporter = Reporter(quiet=quiet or not first, verbose=verbose and first)
    plan = plan_training(
        settings, name=name, out=out, device=device, data_dir=data_dir, download=download
    )
    mixed = f", {len(plan.generated.split)} generated" if plan.generated else ""
    reporter.detail(
        f"{len(plan.train)} training{mixed} and {len(plan.validation)} validation samples "
        f"on {plan.device}; {plan.spec}"
    )
    if dry_run:
        TrainingFolder(plan, force=force).earlier()  # that of another run is an error
        for note in plan.notes:
            reporter.say(note)
        from robbench.reports.terminal.training import training_line
        from robbench.tasks.train.forecast import forecast_training

        if forecast := forecast_training(plan):
            reporter.say(f"train {plan.name}: {training_line(forecast)}")
        about = {
            "name": plan.name,
            "folder": shown(plan.folder),
            "identity": plan.identity,
            "config": plan.spec,
        }
        ahead = forecast and forecast._asdict()
        print_json("robbench.train.plan/1", **about, **plan.built_on, forecast=ahead)
        return
    from robbench.tasks.train.listen import run_training

    done = run_training(plan, reporter, force=force)
    if not first:
        return
    from robbench.reports.terminal.training import validation, validation_lines

    selected = done.config["selected"]
    if as_json:
        facts = {key: value for key, value in done.config.items() if key != "schema"}
        facts["validation"] = validation(done.rows, selected)
        print_json("robbench.train/1", folder=shown(done.folder), fresh=done.fresh, **facts)
    else:
        print_result(
            f"model {plan.name}: {shown(done.folder)} "
            f"(epoch {selected['epoch']}, the {selected['model']} one)"
        )
        for line in validation_lines(done.rows, selected):
            print_result(line)
