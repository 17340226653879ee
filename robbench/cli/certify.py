"""`robbench certify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robbench.cli import options as o
from robbench.cli.options import option
from robbench.cli.reporter import Reporter, print_json, print_rich, reported

WHAT = "What to certify"
Models = Annotated[
    list[str],
    typer.Argument(metavar="MODEL...", help="Names, folders or specs of models, as of attack."),
]
Threat = Annotated[
    list[str] | None,
    option(
        "--threat",
        panel=WHAT,
        metavar="NORM:EPS",
        help="Threat model, linf or l2, may be repeated (default: the data set's); linf:inf: the "
        "largest radius of each sample.",
    ),
]
Method = Annotated[
    str,
    option(
        "--method",
        panel=WHAT,
        metavar="SPEC",
        help="How, with options: robbench list certifiers.",
    ),
]
Data = Annotated[
    str | None,
    option(
        "--data",
        panel=WHAT,
        metavar="SPEC",
        help="Data set (default: what the model was trained on).",
    ),
]
Split = Annotated[str | None, o.split(WHAT)]


@reported
def certify(
    models: Models,
    threat: Threat = None,
    method: Method = "crown",
    data: Data = None,
    split: Split = None,
    out: o.Out = Path("runs"),
    seed: o.Seed = None,
    device: o.Device = "auto",
    limit: o.Limit = None,
    data_dir: o.DataDir = None,
    download: o.Download = False,
    trust_code: o.TrustCode = False,
    force: o.Force = False,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Prove for each sample that no perturbation of a budget changes its prediction.

    Without a budget (--threat linf:inf or l2:inf), up to which size none does.

    Example: robbench certify at --threat linf:0.02
    """
    from robbench.store.store import Store
    from robbench.tasks.model_names import known_models

    known_models(models, Store(out))  # before torch, which takes seconds to load
    from robbench.reports.terminal.certified import certified_table
    from robbench.store.address.copies import shown
    from robbench.tasks.certify import certify as certify_models

    reporter = Reporter(quiet=quiet, verbose=verbose)
    given = {"threat": threat, "data": data, "split": split, "seed": seed, "limit": limit}
    done = certify_models(
        models,
        {name: value for name, value in given.items() if value not in (None, [])},
        method=method,
        out=out,
        device=device,
        data_dir=data_dir,
        download=download,
        force=force,
        listener=reporter,
    )
    rows = [one.fields() for one in done]
    if as_json:
        print_json("robbench.certify/1", rows=rows)
    else:
        print_rich(certified_table(rows))
        reporter.say(f"certificates: {shown(done[0].path.parent)}")
