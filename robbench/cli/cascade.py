"""`robbench cascade`: cascades of attacks from finished runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robbench.cli import options as o
from robbench.cli.command import Command
from robbench.cli.options import option
from robbench.cli.reporter import Reporter, print_json, print_result, print_rich, reported

cascade = typer.Typer(no_args_is_help=True)


@cascade.callback()
def options() -> None:
    """Make a cascade of attacks from finished runs.

    Example: robbench cascade suggest at ce --toml mine.toml
    """


MaxQueries = Annotated[
    int | None,
    option(
        "--max-queries",
        panel=o.RUN,
        metavar="N",
        min=1,
        help="Forwards and backwards of a survivor at most, together.",
    ),
]
Seed = Annotated[
    int,
    option(
        "--seed",
        panel=o.RUN,
        min=0,
        max=2**32 - 1,
        help="Decides which half of the samples chooses.",
    ),
]
Toml = Annotated[
    Path | None,
    option("--toml", panel=o.SHOW, metavar="FILE", help="Write the cascade to this file."),
]
Force = Annotated[bool, option("--force", panel=o.SHOW, help="Replace the file of --toml.")]


@cascade.command(cls=Command)
@reported
def suggest(
    runs: o.Runs = None,
    where: o.Where = None,
    max_queries: MaxQueries = None,
    seed: Seed = 0,
    toml: Toml = None,
    force: Force = False,
    trust_code: o.TrustCode = False,
    out: o.Out = Path("runs"),
    as_json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Suggest the cascade of the runs' attacks that breaks most samples per query.

    Half of the samples choose it, the others judge it.

    Example: robbench cascade suggest at ce --toml mine.toml
    """
    from robbench.reports.terminal.suggestion import SuggestionTables
    from robbench.tasks.cascade import suggest_cascade

    reporter = Reporter(quiet=quiet, verbose=verbose)
    made = suggest_cascade(
        runs or [],
        out,
        where=where or [],
        max_queries=max_queries,
        seed=seed,
        file=toml,
        force=force,
    )
    for note in made.notes:
        reporter.say(note)
    if as_json:
        print_json(
            "robbench.cascade/1",
            **made.fields(),
            file=None if toml is None else str(toml),
            command=made.command,
        )
        return
    print_rich(SuggestionTables(made.found, [run.info for run in made.runs]), at_least=100)
    print_result(made.command)
