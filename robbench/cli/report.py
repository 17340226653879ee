"""`robbench report`. Reads tables; torch is imported only where there are pictures to show."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robbench.cli import options as o
from robbench.cli.options import option
from robbench.cli.reporter import Reporter, print_json, print_result, reported
from robbench.core.errors import UserError

if TYPE_CHECKING:
    from robbench.tasks.report import Report

Runs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RUN]...",
        help="Model names, run ids or Parquet paths; nothing means all of the store.",
    ),
]
Html = Annotated[
    Path,
    option(
        "--html",
        panel=o.PLACE,
        metavar="FILE",
        help="Where the page goes; an older one is replaced.",
    ),
]
OverSeeds = Annotated[
    bool,
    option(
        "--over-seeds",
        panel=o.SHOW,
        help="One row and one line for the training seeds of a recipe.",
    ),
]
Cdn = Annotated[
    bool,
    option(
        "--cdn",
        panel=o.SHOW,
        help="Load the figures' library from cdn.plot.ly: a small page, figures need the network.",
    ),
]


@reported
def report(
    runs: Runs = None,
    html: Html = Path("report.html"),
    where: o.Where = None,
    title: o.Title = "Robustness report",
    over_seeds: OverSeeds = False,
    cdn: Cdn = False,
    open_: o.Open = False,
    out: o.Out = Path("runs"),
    data_dir: o.DataDir = None,
    trust_code: o.TrustCode = False,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Write an HTML page about runs: tables, curves, margins, pictures, checks, commands.

    Example: robbench report ce at --html report.html
    """
    from robbench.tasks.report import report as write_report

    if out.suffix.lower() in (".html", ".htm") and not out.is_dir():
        raise UserError(f"--out {out} names the output folder; the page goes to --html {out}")
    made = write_report(
        runs or [],
        out,
        html,
        title=title,
        data_dir=data_dir,
        where=where or [],
        over_seeds=over_seeds,
        cdn=cdn,
    )
    if as_json:
        print_json("robbench.report/1", **{**made._asdict(), "path": str(made.path)})
    else:
        _tell(made, Reporter(quiet=quiet, verbose=verbose))
    if open_:
        show_page(made.path, Reporter(quiet=quiet, verbose=verbose))


def _tell(made: Report, reporter: Reporter) -> None:
    for title, why in made.missing.items():
        reporter.say(f"{title}: nothing to show. {why}")
    for answer in made.answers:
        print_result(answer["text"])
        if answer["doubt"]["text"]:
            print_result(answer["doubt"]["text"])
    n = len(made.runs)
    print_result(
        f"report of {n} {'run' if n == 1 else 'runs'}: {made.path} ({made.size / 1e6:.1f} MB)"
    )


def show_page(path: Path, reporter: Reporter) -> None:
    """Show a page in a browser, or say that there is none."""
    import webbrowser

    if not webbrowser.open(path.absolute().as_uri()):
        reporter.say(f"no browser here: open {path} where there is one")
