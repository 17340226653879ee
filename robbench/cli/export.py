"""`robbench export`. Reads tables only: torch is never imported."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from robbench.cli import options as o
from robbench.cli.options import option
from robbench.cli.reporter import Reporter, print_json, print_result, reported, results
from robbench.core.errors import UserError

To = Annotated[
    str | None,
    option(
        "--to",
        panel=o.PLACE,
        metavar="TOOL[:PLACE]",
        help="mlflow or mlflow:URI; tensorboard:DIR; bencher:FILE, or bencher for stdout.",
    ),
]


@reported
def export(
    runs: o.Runs = None,
    to: To = None,
    where: o.Where = None,
    out: o.Out = Path("runs"),
    as_json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Export runs to MLflow, TensorBoard or Bencher: settings, results, training curves.

    Example: robbench export at --to bencher
    """
    import json

    from robbench.tasks.export import FORMS
    from robbench.tasks.export import export as run

    if to is None:
        raise UserError(f"--to says where: {', '.join(FORMS.values())}")
    if as_json and to == "bencher":
        raise UserError("--to bencher prints Bencher's JSON: leave out --json, or give a file")
    reporter = Reporter(quiet=quiet, verbose=verbose)
    done = run(runs or [], to, out, where=where or [], say=reporter.say)
    for text in done.warnings:
        reporter.say(f"warning: {text}")
    more = len(done.runs) - len({row["title"] for row in done.runs})
    if done.content is not None and more:
        reporter.say(f"only the latest run of each benchmark; {more} earlier left out")
    if as_json:
        print_json("robbench.export/1", tool=done.tool, runs=done.runs, warnings=done.warnings)
    elif to == "bencher":
        print(json.dumps(done.content, indent=2, allow_nan=False), file=results())
    else:
        for row in done.runs:
            known = ", was there" if row["fresh"] is False else ""
            kind = "MLflow run " if done.tool == "mlflow" else ""
            print_result(f"{row['run_id']}: {kind}{row['place']}{known}")
