"""`robbench verify` and `robbench bundle`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robbench.cli import options as o
from robbench.cli.options import option
from robbench.cli.reporter import Reporter, print_json, print_result, print_rich, reported
from robbench.cli.streams import result_of_a_verdict
from robbench.core.escaping import one_line

WHAT = "What to verify"
PACK = "What to pack"


Targets = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN|FOLDER|BUNDLE...",
        help="Model names, run ids, Parquet files, output folders, or bundles.",
        autocompletion=o.known_runs,
    ),
]
Model = Annotated[str | None, o.moved_model(WHAT)]
Data = Annotated[
    str | None,
    option(
        "--data",
        panel=WHAT,
        metavar="SPEC",
        help="The runs' data, if they are elsewhere than the runs say.",
    ),
]
Runs = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN...",
        help="Model names, NAME@latest, run ids, Parquet files or folders.",
        autocompletion=o.known_runs,
    ),
]
File = Annotated[
    Path, option("-o", "--file", panel=PACK, metavar="FILE", help="The bundle, such as at.zip.")
]
NoModel = Annotated[
    bool, option("--no-model", panel=PACK, help="Pack only the hash of the model, no weights.")
]
PackedModel = Annotated[str | None, o.moved_model(PACK)]


@reported
def verify(
    targets: Targets,
    model: Model = None,
    data: Data = None,
    out: o.Out = Path("runs"),
    device: o.Device = "auto",
    data_dir: o.DataDir = None,
    download: o.Download = False,
    trust_code: o.TrustCode = False,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Confirm published numbers from stored points. Exit 1 = refuted, 4 = not enough evidence.

    Prints what is not confirmed; with --verbose every number.

    Example: robbench verify at.zip
    """
    from robbench.store.bundle import require_there
    from robbench.store.store import Store

    require_there(targets, Store(out))  # before torch, which takes seconds to load
    from robbench.reports.terminal.verified import summary, verified_table
    from robbench.tasks.verify.run import plain_rows
    from robbench.tasks.verify.run import verify as run

    found, code = run(
        targets,
        model=model,
        data=data,
        out=out,
        device=device,
        data_dir=data_dir,
        download=download,
        listener=Reporter(quiet=quiet, verbose=verbose),
    )
    rows = [plain_rows(one) for one in found]
    with result_of_a_verdict():
        if as_json:
            claims = [row for each in rows for row in each]
            print_json("robbench.verify/1", claims=claims, exit_code=code)
        else:
            for one, each in zip(found, rows, strict=True):
                shown = [row for row in each if verbose or row["verdict"] != "confirmed"]
                if shown:
                    print_rich(verified_table(one.title, shown, bound=one.bound))
                    print_result()
                elif one.info is None:
                    print_result(one_line(one.title))
            print_result(summary([row for each in rows for row in each]))
    if code:
        raise typer.Exit(code)


@reported
def bundle(
    runs: Runs,
    bundle_file: File,
    no_model: NoModel = False,
    model: PackedModel = None,
    out: o.OutOfRuns = Path("runs"),
    device: o.Device = "auto",
    data_dir: o.DataDir = None,
    download: o.Download = False,
    trust_code: o.TrustCode = False,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> None:
    """Pack runs, their points and models into one file that others can verify.

    Example: robbench bundle at -o at.zip
    """
    from robbench.store.store import Store

    Store(out).find_local(runs)  # before torch, which takes seconds to load
    from robbench.tasks.bundle import bundle as run

    reporter = Reporter(quiet=quiet, verbose=verbose)
    made = run(
        runs,
        bundle_file,
        with_model=not no_model,
        model=model,
        out=out,
        device=device,
        data_dir=data_dir,
        download=download,
    )
    if as_json:
        print_json("robbench.bundle/1", **{**made._asdict(), "path": str(made.path)})
    else:
        print_result(f"{made.path}: {len(made.members)} files, SHA-256 {made.sha256}")
    for need in made.needs:
        reporter.say(f"to verify it takes {need}")
