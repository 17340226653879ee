"""`robbench compare`. Reads tables only: torch is never imported."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from robbench.cli import options as o
from robbench.cli.options import option
from robbench.cli.reporter import Reporter, print_result, print_rich, reported, results
from robbench.cli.streams import result_of_a_verdict
from robbench.core.errors import UserError
from robbench.core.escaping import one_line

if TYPE_CHECKING:
    from robbench.analysis.comparison import Comparison
    from robbench.analysis.pivot import Pivot as PivotOf

Row: TypeAlias = Mapping[str, Any]
TABLE = "Table"
Allow = Annotated[
    list[str] | None,
    option(
        "--allow",
        panel=o.WHICH,
        metavar="KIND",
        help="Show runs together, marked, that differ in data, split, subset, samples, attack "
        "or limits.",
    ),
]
OverSeeds = Annotated[
    bool,
    option(
        "--over-seeds",
        panel=TABLE,
        help="One row for the training seeds of a recipe: mean and t interval.",
    ),
]
BestLast = Annotated[
    bool,
    option(
        "--best-last",
        panel=TABLE,
        help="One row for the best and the last checkpoint of a model (attack NAME NAME@last).",
    ),
]
Pivot = Annotated[
    str | None,
    option(
        "--pivot",
        panel=TABLE,
        metavar="threat",
        help="Budgets in columns, one row per model: robust accuracy under each.",
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
    option(
        "--fail-on",
        panel=TABLE,
        metavar="METRIC:CHANGE",
        help="Exit 1 if a run is worse than the first by more, such as robust_accuracy:-1pp "
        "or n_forward:+10%.",
    ),
]
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
    where: o.Where = None,
    allow: Allow = None,
    over_seeds: OverSeeds = False,
    best_last: BestLast = False,
    pivot: Pivot = None,
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
    """Compare results: accuracies with 95 % intervals, margins, cost, paired differences.

    Example: robbench compare ce at --fail-on robust_accuracy:-1pp
    """
    from robbench.analysis.comparison import compare_runs
    from robbench.analysis.pivot import pivot as pivoted
    from robbench.analysis.tolerances import parse_tolerances
    from robbench.reports import formats
    from robbench.reports.columns import parse_columns, select
    from robbench.reports.corrupted import with_means
    from robbench.reports.sorting import sort_rows

    if as_json + as_csv + as_markdown + as_latex > 1:
        raise UserError("choose one of --json, --csv, --markdown and --latex")
    if pivot is not None and columns is not None:
        raise UserError("--columns chooses columns of the table without --pivot: leave one out")
    reporter, limits = Reporter(quiet=quiet, verbose=verbose), parse_tolerances(fail_on or [])
    found = compare_runs(
        runs or [],
        out,
        where=where or [],
        allow=allow or [],
        over_seeds=over_seeds,
        best_last=best_last,
        fail_on=limits,
    )
    rows = sort_rows(found.rows, sort) if sort else found.rows
    names = parse_columns(columns, rows[0]) if columns is not None else None
    wide = None if pivot is None else pivoted(rows, pivot)
    values = select(rows, names) if wide is None else wide.flat()
    corrupted = [] if wide or names else found.corrupted
    for note in found.notes:
        reporter.say(note)
    for row in rows:
        reporter.detail(
            f"{row['run_id']}: {row['model']}, {row['data']} {row['split']}, {row['threat']}, "
            f"{row['attack']}"
        )
    if parquet is not None:
        formats.to_parquet(with_means(values, corrupted), parquet)
        reporter.say(f"{len(values)} rows written to {parquet}")
    with result_of_a_verdict() if limits else contextlib.nullcontext():
        if as_json:
            more = {"failed": found.failed, "unjudged": found.unjudged} if limits else {}
            more |= {"corruptions": found.corrupted} if found.corrupted else {}
            print(formats.to_json(values, **more), file=results())
        elif as_csv:
            print_result(formats.to_csv(with_means(values, corrupted)), end="")
        elif as_markdown or as_latex:
            print_result(
                document(as_latex, rows, names, wide, corrupted), end="" if as_latex else "\n"
            )
        else:
            print_rich(*on_screen(found, rows, names, wide, out))
    for words, those in (("not judged", found.unjudged), ("failed", found.failed)):
        for row in those:  # quiet or not
            print(one_line(f"{words}: {row['text']}"), file=sys.stderr)
    if found.failed:
        raise typer.Exit(1)


def document(
    latex: bool,
    rows: Sequence[Row],
    names: Sequence[str] | None,
    wide: PivotOf | None,
    corrupted: Sequence[Row] = (),
) -> str:
    """The table as Markdown or LaTeX; corrupted: these have their own, in place of their runs."""
    from robbench.reports.corrupted import (
        NOTE,
        by_corruption,
        groups,
        summary_columns,
        title,
        without,
    )
    from robbench.reports.formats import markdown_table, to_markdown
    from robbench.reports.latex.corrupted import corrupted_to_latex
    from robbench.reports.latex.table import pivot_to_latex, to_latex
    from robbench.reports.pivot import columns_of, notes_of

    if wide is not None:
        if latex:
            return pivot_to_latex(wide)
        return markdown_table(wide.rows, columns_of(wide), notes_of(wide))
    others = without(rows, corrupted)
    if latex:
        parts = [to_latex(others, names)] if others else []
        return "\n".join([*parts, *([corrupted_to_latex(corrupted, rows)] if corrupted else [])])
    parts = [to_markdown(others, names)] if others else []
    for group in groups(corrupted):
        parts += [
            markdown_table(group, summary_columns(group), [title(group[0])]),
            markdown_table(*by_corruption(group), [NOTE]),
        ]
    return "\n".join(parts)


def on_screen(
    found: Comparison,
    rows: Sequence[Row],
    names: Sequence[str] | None,
    wide: PivotOf | None,
    out: Path,
) -> tuple[Any, int]:
    """Answers and table for the terminal, and how wide that is where there is room."""
    from rich.console import Group

    from robbench.reports.terminal.answer import answer_lines
    from robbench.reports.terminal.compare import comparison_table, width_needed
    from robbench.reports.terminal.pivot import PivotTable

    said = answer_lines(found.answers, out)
    if wide is not None:
        return Group(*said, PivotTable(wide)), PivotTable(wide).width()
    table = comparison_table(rows, names, found.corrupted)
    return Group(*said, table), width_needed(rows, names)
