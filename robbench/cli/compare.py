"""`robbench compare`. Reads tables only: torch is never imported."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robbench.cli import options as o
from robbench.cli.options import option
from robbench.cli.reporter import print_rich, reported
from robbench.core.errors import UserError

Runs = Annotated[
    list[str] | None,
    typer.Argument(metavar="[RUN]...", help="Model names, run ids or Parquet paths; nothing means all of the store."),
]
Csv = Annotated[bool, option("--csv", panel=o.SHOW, help="CSV on stdout.")]
Markdown = Annotated[bool, option("--markdown", panel=o.SHOW, help="A Markdown table on stdout.")]


@reported
def compare(
    runs: Runs = None,
    out: o.Out = Path("runs"),
    as_json: o.Json = False,
    as_csv: Csv = False,
    as_markdown: Markdown = False,
) -> None:
    """Compare results: accuracies with 95 % intervals, margins, cost, and the paired difference to the first run.

    Example: robbench compare ce at
    """
    from robbench.results import compare as tables
    from robbench.runs.compare import compare_runs

    if as_json + as_csv + as_markdown > 1:
        raise UserError("choose one of --json, --csv and --markdown")
    rows = compare_runs(runs or [], out)
    if as_json:
        print(tables.to_json(rows))
    elif as_csv:
        print(tables.to_csv(rows), end="")
    elif as_markdown:
        print(tables.to_markdown(rows))
    else:
        from robbench.report.terminal import comparison_table

        print_rich(comparison_table(rows))
