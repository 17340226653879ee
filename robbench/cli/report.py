"""`robbench report`. Reads tables; torch is imported only where there are pictures to show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robbench.cli import options as o
from robbench.cli.options import option
from robbench.cli.reporter import Reporter, print_json, print_result, reported

Runs = Annotated[
    list[str] | None,
    typer.Argument(metavar="[RUN]...", help="Model names, run ids or Parquet paths; nothing means all of the store."),
]
Html = Annotated[Path, option("--html", panel=o.PLACE, metavar="FILE", help="Where the page goes; an older one is replaced.")]
Title = Annotated[str, option("--title", panel=o.SHOW, help="Its title.")]


@reported
def report(
    runs: Runs = None,
    html: Html = Path("report.html"),
    title: Title = "Robustness report",
    out: o.Out = Path("runs"),
    data_dir: o.DataDir = None,
    trust_code: o.TrustCode = False,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Write one HTML page about runs: tables, curves, margins, pictures, checks and how to reproduce it all.

    Example: robbench report ce at --html report.html
    """
    from robbench.runs.report import report as write_report

    made = write_report(runs or [], out, html, title=title, data_dir=data_dir)
    if as_json:
        print_json("robbench.report/1", **{**made._asdict(), "path": str(made.path)})
        return
    missing = [name for name, there in made.sections.items() if not there]
    if missing:
        Reporter(quiet=quiet, verbose=verbose).say(f"nothing to show for {', '.join(missing)}: the page says how to get it")
    n = len(made.runs)
    print_result(f"report of {n} {'run' if n == 1 else 'runs'}: {made.path} ({made.size / 1e6:.1f} MB)")
