"""`robbench plot`. Reads tables only: torch is never imported."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robbench.cli import options as o
from robbench.cli.options import option
from robbench.cli.reporter import Reporter, print_json, print_result, reported

Kind = Annotated[
    str,
    typer.Argument(
        metavar="KIND",
        help="curves: robust accuracy against eps. margins: logit margins, clean and worst. "
        "spectrum: singular values of the features. training: accuracies and loss by epoch. "
        "cost: robust accuracy left against queries. history: robust accuracy from run to run.",
        autocompletion=lambda: ["curves", "margins", "spectrum", "training", "cost", "history"],
    ),
]
FigureFile = Annotated[
    Path | None,
    option(
        "-o",
        "--figure",
        panel=o.PLACE,
        metavar="FILE",
        help="The figure: .pdf, .svg, .png or .pgf (default: KIND.pdf).",
    ),
]
CsvFile = Annotated[
    Path | None,
    option("--csv", panel=o.PLACE, metavar="FILE", help="Write the numbers drawn here, too."),
]
OverSeeds = Annotated[
    bool,
    option(
        "--over-seeds",
        panel=o.SHOW,
        help="One line for the training seeds of a recipe: their mean and standard deviation.",
    ),
]
Width = Annotated[
    float | None,
    option("--width", panel=o.SHOW, help="Inches (default: 3.25, one column of a paper)."),
]


@reported
def plot(
    kind: Kind,
    runs: o.Runs = None,
    figure: FigureFile = None,
    csv: CsvFile = None,
    where: o.Where = None,
    over_seeds: OverSeeds = False,
    width: Width = None,
    out: o.OutOfRuns = Path("runs"),
    as_json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Draw a figure for a paper: one column wide, fonts embedded, readable in grey, reproducible.

    Example: robbench plot curves ce at -o curves.pdf --csv curves.csv
    """
    from robbench.tasks.plot import plot as draw

    target = figure or Path(f"{kind}.pdf")
    made = draw(
        kind,
        runs or [],
        out,
        figure=target,
        csv=csv,
        where=where or [],
        over_seeds=over_seeds,
        width=width,
    )
    reporter = Reporter(quiet=quiet, verbose=verbose)
    for text in made.warnings:
        reporter.say(f"warning: {text}")
    if as_json:
        print_json(
            "robbench.plot/1",
            kind=kind,
            figure=str(target),
            csv=None if csv is None else str(csv),
            caption=made.caption,
            warnings=list(made.warnings),
            rows=list(made.plotted.rows()),
        )
        return
    if csv is not None:
        reporter.say(f"{sum(1 for _ in made.plotted.rows())} rows written to {csv}")
    print_result(f"{target}: {made.caption}")
