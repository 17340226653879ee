"""`robbench inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robbench.cli import options as o
from robbench.cli.options import option
from robbench.cli.reporter import Reporter, print_json, print_rich, reported
from robbench.cli.streams import result_of_a_verdict

WHAT = "What to look at"
Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="As for robbench attack: a name, a folder or a spec, timm:resnet50."
    ),
]
Data = Annotated[
    str | None,
    option(
        "--data",
        panel=WHAT,
        metavar="SPEC",
        help="Data set (default: what the model was trained on; without data, no accuracy).",
    ),
]
Split = Annotated[str | None, o.split(WHAT)]
Shape = Annotated[
    str | None,
    option(
        "--shape",
        panel=WHAT,
        metavar="CxHxW",
        help="Shape of the images without --data, such as 3x224x224 (default: found by trying).",
    ),
]
Attacks = Annotated[
    list[str] | None,
    option(
        "-a",
        "--attack",
        panel=WHAT,
        metavar="SPEC",
        help="Attack whose cost is forecast (default: apgd); several make one worst case.",
    ),
]
Threat = Annotated[
    str | None,
    option(
        "--threat",
        panel=WHAT,
        metavar="NORM:EPS",
        help="Threat model of that attack (default: the data set's, else linf:8/255).",
    ),
]


@reported
def inspect(
    model: Model,
    data: Data = None,
    split: Split = None,
    shape: Shape = None,
    attacks: Attacks = None,
    threat: Threat = None,
    batch_size: o.BatchSize = None,
    out: o.Out = Path("runs"),
    seed: o.Seed = None,
    device: o.Device = "auto",
    limit: o.Limit = None,
    data_dir: o.DataDir = None,
    download: o.Download = False,
    trust_code: o.TrustCode = False,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Say what a model is, what an attack costs, and what is wrong with the model. Exit 1: error.

    Example: robbench inspect at --attack autoattack --limit 1000
    """
    from robbench.store.store import Store
    from robbench.tasks.model_names import require_known

    require_known(model, Store(out))  # before torch, which takes seconds to load
    from robbench.reports.terminal.inspected import inspected_card
    from robbench.tasks.inspect.run import inspect_named

    given = {
        "data": data,
        "split": split,
        "attack": attacks,
        "threat": [threat] if threat else None,
        "batch_size": batch_size,
        "seed": seed,
        "limit": limit,
    }
    found = inspect_named(
        model,
        {name: value for name, value in given.items() if value not in (None, [])},
        shape=shape,
        out=out,
        device=device,
        data_dir=data_dir,
        download=download,
        listener=Reporter(quiet=quiet, verbose=verbose),
    )
    with result_of_a_verdict():
        if as_json:
            print_json("robbench.inspect/1", **found.fields())
        else:
            print_rich(inspected_card(found))
    if found.failed:
        raise typer.Exit(1)
