"""`robbench view`. Torch is imported only where there are pictures or traces."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from robbench.cli import options as o
from robbench.cli.options import option
from robbench.cli.report import show_page
from robbench.cli.reporter import Reporter, print_json, print_result, reported

WHAT = "What to show"
Html = Annotated[
    Path,
    option(
        "-o",
        "--html",
        panel=o.PLACE,
        metavar="FILE",
        help="Where the page goes; an older one is replaced.",
    ),
]
Limit = Annotated[
    int | None,
    option(
        "-n",
        "--limit",
        panel=WHAT,
        metavar="N",
        help="Only the first N samples (default: all, up to 100,000 rows of all runs together).",
    ),
]
Trace = Annotated[
    int,
    option(
        "--trace",
        panel=WHAT,
        metavar="N",
        help="For N samples, drawn by --seed, the margin along the steps of an attack.",
    ),
]


@reported
def view(
    runs: o.Runs = None,
    html: Html = Path("view.html"),
    where: o.Where = None,
    limit: Limit = None,
    trace: Trace = 0,
    seed: o.Seed = None,
    title: o.Title = "Samples",
    open_: o.Open = False,
    out: o.OutOfRuns = Path("runs"),
    device: o.Device = "auto",
    data_dir: o.DataDir = None,
    download: o.Download = False,
    trust_code: o.TrustCode = False,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Write an HTML page to look at samples across runs: filters, pictures, margins.

    Example: robbench view ce at --trace 5
    """
    from robbench.reports.texts import plural
    from robbench.tasks.view.run import view as write_view

    reporter = Reporter(quiet=quiet, verbose=verbose)
    made = write_view(
        runs or [],
        out,
        html,
        where=where or [],
        limit=limit,
        trace=trace,
        seed=seed or 0,
        title=title,
        device=device,
        data_dir=data_dir,
        download=download,
        listener=reporter,
    )
    if as_json:
        print_json("robbench.view/1", **{**made._asdict(), "path": str(made.path)})
    else:
        for note in made.notes:
            reporter.say(note)
        samples, of = plural(made.n_samples, "sample"), plural(len(made.runs), "run")
        print_result(f"{samples} of {of}: {made.path} ({made.size / 1e6:.1f} MB)")
    if open_:
        show_page(made.path, reporter)
