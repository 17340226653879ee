"""`robbench query`. Reads tables only: torch is never imported."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robbench.cli import options as o
from robbench.cli.compare import Csv, Parquet
from robbench.cli.options import option
from robbench.cli.reporter import Reporter, print_json, print_result, print_rich, reported
from robbench.core.errors import UserError

Sql = Annotated[
    str,
    typer.Argument(
        metavar="SQL", help="A query over runs, samples, points, epochs and what else is there."
    ),
]
AllowFiles = Annotated[
    bool,
    option(
        "--allow-files",
        panel=o.RUN,
        help="Let the SQL read and write any file, not only the tables of the folder.",
    ),
]
Folder = Annotated[
    str | None,
    typer.Argument(
        metavar="[DIR]", help="An output folder or its address (default: what --out says)."
    ),
]


@reported
def query(
    sql: Sql,
    folder: Folder = None,
    out: o.Out = Path("runs"),
    as_json: o.Json = False,
    as_csv: Csv = False,
    parquet: Parquet = None,
    allow_files: AllowFiles = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Ask the tables in SQL, by DuckDB (of the extra sql).

    Example: robbench query "SELECT broken_by, count(*) FROM samples GROUP BY 1 ORDER BY 2 DESC"
    """
    import time

    from robbench.analysis.query import query as ask
    from robbench.reports.formats import to_csv, write_parquet
    from robbench.reports.terminal.query import SHOWN_ROWS, query_table

    if as_json and as_csv:
        raise UserError("choose one of --json and --csv")
    reporter, began = Reporter(quiet=quiet, verbose=verbose), time.monotonic()
    answer = ask(sql, folder, out, allow_files=allow_files)
    reporter.detail(f"{len(answer)} rows in {time.monotonic() - began:.2f} s")
    if as_json or as_csv or parquet is not None:
        _require_apart(answer.column_names)
    if parquet is not None:
        write_parquet(answer, parquet)
        reporter.say(f"{len(answer)} rows written to {parquet}")
    if as_json:
        print_json("robbench.query/1", columns=answer.column_names, rows=answer.to_pylist())
    elif as_csv:
        print_result(to_csv(answer.to_pylist(), answer.column_names), end="")
    else:
        print_rich(query_table(answer, SHOWN_ROWS))
        if len(answer) > SHOWN_ROWS:
            reporter.say(
                f"the first {SHOWN_ROWS} of {len(answer)} rows; all of them with --csv, --json or "
                "--parquet FILE"
            )


def _require_apart(names: list[str]) -> None:
    """Raise UserError for two columns of one name, of which a reader of the file has only one."""
    for name in names:
        if names.count(name) > 1:
            raise UserError(
                f"{names.count(name)} columns of the answer are called {name}: rename them with AS"
            )
