"""`robbench show` and `robbench runs`. They read tables only: torch is never imported."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robbench.cli import options as o
from robbench.cli.options import how_many
from robbench.cli.reporter import Reporter, print_json, print_rich, reported

Run = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="A run id or its beginning, a model with one run, NAME@latest, or a file.",
        autocompletion=o.known_runs,
    ),
]
Folder = Annotated[
    str | None,
    typer.Argument(
        metavar="[DIR]", help="An output folder or its address (default: what --out says)."
    ),
]


MOST = 500
"""Runs that are listed on a screen where nothing else was said."""
Latest = Annotated[
    str | None,
    typer.Option(
        "--latest",
        metavar="N",
        help=f"Only the N runs begun last, or all (default: {MOST}, with --json all).",
        show_default=False,
    ),
]


@reported
def show(
    run: Run,
    out: o.Out = Path("runs"),
    as_json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Show one run: its numbers, what broke it, what it cost, how it was made, and its warnings.

    Example: robbench show at
    """
    from robbench.analysis.show import show_run

    found, reporter = show_run(run, out), Reporter(quiet=quiet, verbose=verbose)
    if as_json:
        print_json("robbench.show/1", **found)
        return
    from robbench.reports.terminal.run import run_card
    from robbench.reports.texts import percent

    print_rich(run_card(found))
    names = dict(enumerate(found["class_names"]))
    for each in found["classes"]:
        name = names.get(each["label"], each["label"])
        clean, robust = percent(each["clean_accuracy"]), percent(each["robust_accuracy"])
        reporter.detail(f"class {name}: clean {clean}, robust {robust} of {each['n']}")


@reported
def runs(
    folder: Folder = None,
    latest: Latest = None,
    out: o.Out = Path("runs"),
    as_json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """List an output folder's runs, and what is unfinished, damaged or not attacked yet.

    Example: robbench runs
    """
    from robbench.analysis.show import list_runs

    most = how_many("--latest", latest, None if as_json else MOST)
    found, reporter = list_runs(folder, out), Reporter(quiet=quiet, verbose=verbose)
    known = len(found["runs"])
    found["runs"] = found["runs"][-(most or known) :]
    if as_json:
        print_json("robbench.runs/1", **found)
        return
    from robbench.reports.terminal.run import run_list

    print_rich(run_list(found, Path(folder or out)))
    if len(found["runs"]) < known:
        reporter.say(
            f"these are the {most:,} runs begun last of {known:,}; --latest all lists all of them"
        )
    for row in found["runs"]:
        reporter.detail(
            f"{row['run_id']}: {row['device']}, {row['wall_s']:.1f} s, robbench "
            f"{row['robbench_version']}"
        )
