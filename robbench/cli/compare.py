"""`robbench compare`. Reads tables only: torch is never imported."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from robbench.cli import options as o
from robbench.cli.options import option
from robbench.cli.reporter import Reporter, print_result, print_rich, reported, results
from robbench.cli.streams import result_of_a_verdict
from robbench.core.errors import UserError
from robbench.core.escaping import one_line

WHICH, TABLE = "Which runs", "Table"
Where = Annotated[
    list[str] | None,
    option(
        "--where",
        panel=WHICH,
        metavar="COLUMN=VALUE",
        help="Only runs of which this holds, such as threat=linf:0.15.",
    ),
]
Allow = Annotated[
    list[str] | None,
    option("--allow", panel=WHICH, metavar="KIND",
           help="Show runs together, marked, that differ in data, split, subset, samples, threat, attack or limits."),
]  # fmt: skip
OverSeeds = Annotated[
    bool,
    option(
        "--over-seeds",
        panel=TABLE,
        help="One row for the training seeds of a recipe: mean and t interval.",
    ),
]
Columns = Annotated[
    str | None,
    option(
        "--columns",
        panel=TABLE,
        metavar="A,B,...",
        help="Show these; any name in --json, or margins, difference, queries.",
    ),
]
Sort = Annotated[
    str | None,
    option(
        "--sort",
        panel=TABLE,
        metavar="COLUMN",
        help="Best first; COLUMN:asc and COLUMN:desc say it outright.",
    ),
]
FailOn = Annotated[
    list[str] | None,
    option("--fail-on", panel=TABLE, metavar="METRIC:CHANGE",
           help="Exit 1 if a run is worse than the first by more, such as robust_accuracy:-1pp or n_forward:+10%."),
]  # fmt: skip
Csv = Annotated[bool, option("--csv", panel=o.SHOW, help="CSV on stdout.")]
Markdown = Annotated[bool, option("--markdown", panel=o.SHOW, help="A Markdown table on stdout.")]
Latex = Annotated[bool, option("--latex", panel=o.SHOW, help="A LaTeX table (booktabs) on stdout.")]
Parquet = Annotated[
    Path | None,
    option("--parquet", panel=o.SHOW, metavar="FILE", help="Write the rows to this file, too."),
]


@reported
def compare(
    runs: o.Runs = None,
    where: Where = None,
    allow: Allow = None,
    over_seeds: OverSeeds = False,
    columns: Columns = None,
    sort: Sort = None,
    fail_on: FailOn = None,
    out: o.Out = Path("runs"),
    as_json: o.Json = False,
    as_csv: Csv = False,
    as_markdown: Markdown = False,
    as_latex: Latex = False,
    parquet: Parquet = None,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Compare results: accuracies with 95 % intervals, margins, cost, and the paired difference to the first run.

    Example: robbench compare ce at --fail-on robust_accuracy:-1pp
    """
    from robbench.analysis.comparison import compare_runs
    from robbench.analysis.tolerances import parse_tolerances
    from robbench.reports import formats
    from robbench.reports.columns import DEFAULT, WITH_FACTS, parse_columns, select, sort_rows

    if as_json + as_csv + as_markdown + as_latex > 1:
        raise UserError("choose one of --json, --csv, --markdown and --latex")
    reporter, limits = Reporter(quiet=quiet, verbose=verbose), parse_tolerances(fail_on or [])
    found = compare_runs(
        runs or [], out, where=where or [], allow=allow or [], over_seeds=over_seeds, fail_on=limits
    )
    rows = sort_rows(found.rows, sort) if sort else found.rows
    names = parse_columns(columns, rows[0]) if columns is not None else None
    for note in found.notes:
        reporter.say(note)
    for row in rows:
        reporter.detail(
            f"{row['run_id']}: {row['model']}, {row['data']} {row['split']}, {row['threat']}, "
            f"{row['attack']}"
        )
    if parquet is not None:
        formats.to_parquet(select(rows, names), parquet)
        reporter.say(f"{len(rows)} rows written to {parquet}")
    with result_of_a_verdict() if limits else contextlib.nullcontext():
        if as_json:
            print(
                formats.to_json(
                    select(rows, names), **({"failed": found.failed} if limits else {})
                ),
                file=results(),
            )
        elif as_csv:
            print_result(formats.to_csv(select(rows, names)), end="")
        elif as_markdown:
            print_result(formats.to_markdown(rows, names or WITH_FACTS))
        elif as_latex:
            print_result(formats.to_latex(rows, names or WITH_FACTS), end="")
        else:
            from robbench.reports.terminal.compare import comparison_table, width_needed

            print_rich(
                comparison_table(rows, names or DEFAULT), width_needed(rows, names or DEFAULT)
            )
    if found.failed:
        raise failed(found.failed)


def failed(failures: list[dict[str, object]]) -> typer.Exit:
    """Say each failure in a line on stderr, quiet or not; raise what it returns."""
    import sys

    for failure in failures:
        print(one_line(f"failed: {failure['text']}"), file=sys.stderr)
    return typer.Exit(1)
