"""`robbench baseline`: which run a gate holds others against. Needs no torch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from robbench.cli import options as o
from robbench.cli.reporter import Reporter, print_json, print_result, reported
from robbench.core.errors import UserError
from robbench.core.escaping import one_line

Action = Annotated[
    Literal["set", "show"],
    typer.Argument(metavar="set|show", help="Choose the reference, or look at it."),
]
RunName = Annotated[
    str | None,
    typer.Argument(
        metavar="RUN",
        help="For set: a model (its latest run), a run id or a Parquet path.",
    ),
]
Branch = Annotated[
    str | None,
    typer.Option(
        "--branch", metavar="BRANCH", help="The baseline of this branch, beside the usual one."
    ),
]


@reported
def baseline(
    action: Action,
    run: RunName = None,
    branch: Branch = None,
    out: o.Out = Path("runs"),
    as_json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Set or show the reference run of an output folder.

    Of the runs that a nightly job leaves, set takes the latest. A gate refuses the baseline once
    its files have changed.

    Example: robbench baseline set at
    """
    from robbench.analysis.claims import contradictions
    from robbench.analysis.summary import COLUMNS, summarise
    from robbench.reports.texts import percent
    from robbench.store.address.copies import shown
    from robbench.store.baseline import baseline_path, find_baseline, read_baseline, set_baseline
    from robbench.store.run import read_run
    from robbench.store.store import Store

    store = Store(out)
    if action == "set":
        if run is None:
            raise UserError(
                f"say which run: {store.command('baseline', 'set', 'RUN')} "
                f"({store.command('runs')} lists them)"
            )
        set_baseline(store, run, branch)
    elif run is not None:
        raise UserError(
            "robbench baseline show takes no run: there is one baseline in an output folder, "
            "and one for each --branch"
        )
    found = read_run(find_baseline(store, None, branch), COLUMNS)
    info = found.info | summarise(found.samples, budget=math.isfinite(found.info["eps"]))
    for text in contradictions(found):
        Reporter(quiet=quiet, verbose=verbose).say(f"warning: {text}")
    entry: dict[str, Any] = read_baseline(store, branch) or {}
    if as_json:
        names = (
            "data",
            "split",
            "threat",
            "attack",
            "n_samples",
            "robust_accuracy",
            "clean_accuracy",
            "model_hash",
        )
        print_json(
            "robbench.baseline/1",
            branch=branch,
            **{k: v for k, v in entry.items() if k != "schema"},
            **{k: info[k] for k in names},
        )
        return
    rates = (
        f"robust accuracy {percent(info['robust_accuracy'])}, clean "
        f"{percent(info['clean_accuracy'])}"
    )
    what = f"{info['model']} on {info['data']} {info['split']}, {info['threat']}, {info['attack']}"
    print_result(one_line(f"baseline {info['run_id']}: {what}"))
    print_result(
        one_line(f"{rates}, {info['n_samples']} samples; set at {entry['set_at']}, unchanged since")
    )
    print_result(
        f"points to replay: {'yes' if 'points' in entry['sha256'] else 'none'}; kept in "
        f"{shown(baseline_path(store, branch))}"
    )
