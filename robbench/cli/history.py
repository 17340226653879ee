"""`robbench history`. Reads tables only: torch is never imported."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from robbench.cli import options as o
from robbench.cli.options import how_many, option
from robbench.cli.reporter import Reporter, print_json, print_rich, reported, results

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="A model's name, or a pattern of names.",
        autocompletion=o.known_runs,
    ),
]
Measure = Annotated[
    str | None,
    option(
        "--measure",
        panel=o.WHICH,
        metavar="MEASURE",
        help="robust_accuracy, clean_accuracy or, of runs without a budget, median_distance.",
    ),
]
Last = Annotated[
    str | None,
    option(
        "--last",
        panel=o.WHICH,
        metavar="N",
        help="Only the last N runs, or all (default: 50).",
        show_default=False,
    ),
]


@reported
def history(
    name: Name,
    where: o.Where = None,
    measure: Measure = None,
    last: Last = None,
    out: o.Out = Path("runs"),
    as_json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Show the runs of a model's name over time: values, steps, and where a change is sure.

    Example: robbench history ce
    """
    from robbench.analysis.history import ALPHA, LAST, histories
    from robbench.reports.history.json import as_json as plain
    from robbench.store.store import Store

    found = histories(
        Store(out),
        [name],
        where=where or [],
        measure=measure,
        last=how_many("--last", last, LAST),
    )
    reporter = Reporter(quiet=quiet, verbose=verbose)
    if as_json:
        print_json("robbench.history/1", alpha=ALPHA, histories=[plain(one) for one in found])
        return
    from robbench.analysis.mean_history import with_means
    from robbench.reports.history.table import histories_view, width_needed

    shown = with_means(found)
    print_rich(histories_view(shown, blocks=_shows_blocks()), width_needed(shown))
    for one in found:
        for step in one.steps:
            reporter.detail(f"{step.info['run_id']}: robbench {step.info['robbench_version']}")


def _shows_blocks() -> bool:
    """Whether blocks of Unicode reach a person: a terminal whose encoding has them."""
    stream = results()
    if not stream.isatty() or os.environ.get("NO_COLOR"):
        return False
    try:
        "▁█".encode(stream.encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return False
    return True
