"""`robbench card`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robbench.cli import options as o
from robbench.cli.options import option
from robbench.cli.reporter import Reporter, print_json, print_result, reported, results

WHAT = "What to write"
Runs = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL|RUN...",
        help="Runs of one model: its name, NAME@latest, run ids, Parquet files or folders.",
        autocompletion=o.known_runs,
    ),
]
Format = Annotated[
    str,
    option(
        "--format",
        panel=WHAT,
        metavar="FORMAT",
        help="markdown: a section of a model card, with metadata for the Hugging Face Hub. "
        "in-toto: an unsigned statement about the file of weights. cyclonedx: an ML-BOM.",
    ),
]
File = Annotated[
    Path | None,
    option("-o", "--file", panel=WHAT, metavar="FILE", help="Write to this file, not to stdout."),
]
Into = Annotated[
    Path | None,
    option(
        "--into",
        panel=WHAT,
        metavar="README.md",
        help="Put the section and the metadata into this model card; all else in it stays.",
    ),
]
Model = Annotated[str | None, o.moved_model(WHAT)]


@reported
def card(
    runs: Runs,
    form: Format = "markdown",
    card_file: File = None,
    into: Into = None,
    where: o.Where = None,
    model: Model = None,
    out: o.OutOfRuns = Path("runs"),
    data_dir: o.DataDir = None,
    download: o.Download = False,
    trust_code: o.TrustCode = False,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Publish a model's robustness: a model card, a statement to sign, a bill of materials.

    Example: robbench card at --format in-toto -o at.intoto.json
    """
    from robbench.store.store import Store

    Store(out).find(runs)  # before torch, which takes seconds to load
    from robbench.reports.texts import plural
    from robbench.tasks.card import card as run

    made = run(
        runs,
        form=form,
        file=card_file,
        into=into,
        where=where or [],
        model=model,
        out=out,
        data_dir=data_dir,
        download=download,
    )
    reporter = Reporter(quiet=quiet, verbose=verbose)
    for note in made.notes:
        reporter.say(note)
    if as_json:
        weights = made.weights and made.weights._asdict()
        path = None if made.path is None else str(made.path)
        print_json("robbench.card/1", **{**made._asdict(), "path": path, "weights": weights})
    elif made.path is None:
        print(made.text, end="", file=results())
    else:
        digest = f", SHA-256 {made.weights.sha256}" if made.weights else ""
        name = f" about {made.weights.name}" if made.weights else ""
        runs_of = plural(len(made.runs), "run")
        print_result(f"{made.path}: {made.format}{name}{digest}, {runs_of}")
