"""The options that commands share: declared once, so that they mean the same everywhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from robbench.core.errors import UserError
from robbench.store.locations import is_address

RUN, WHICH, PLACE, SHOW = "Run", "Which runs", "Where", "Output"


def option(*names: str, panel: str, help: str, **extra: Any) -> Any:
    """A Typer option in a help panel."""
    return typer.Option(*names, help=help, rich_help_panel=panel, **extra)


def output(given: str | Path) -> Any:
    """A path; an address as it is, for which `reported` gives the command a working copy."""
    return given if is_address(str(given)) else Path(given)


def moved_model(panel: str) -> Any:
    """`--model`, of commands that read runs whose model may have moved."""
    return option(
        "--model",
        panel=panel,
        metavar="NAME|PATH",
        help="The runs' model, if it is no longer under its name.",
    )


def split(panel: str) -> Any:
    """`--split`, of commands that evaluate a model."""
    return option("--split", panel=panel, help="test, train, validation, ... (default: test).")


def how_many(flag: str, given: str | None, otherwise: int | None) -> int | None:
    """A number of runs, None for all. Raises UserError for what is no such number."""
    if given is None or given == "all":
        return None if given else otherwise
    if not (given.isascii() and given.isdecimal()) or len(given) > 9 or int(given) < 1:
        raise UserError(f"{flag} {given}: give a number of runs such as 500, or all")
    return int(given)


Out = Annotated[
    Path,
    option(
        "-o",
        "--out",
        panel=PLACE,
        envvar="ROBBENCH_OUT",
        metavar="PATH",
        parser=output,
        help="Output folder, or an address such as s3://bucket/runs.",
    ),
]
# Where -o is the file that is written.
OutOfRuns = Annotated[
    Path,
    option(
        "--out",
        panel=PLACE,
        envvar="ROBBENCH_OUT",
        metavar="PATH",
        parser=output,
        help="Output folder of the runs, or an address such as s3://bucket/runs.",
    ),
]
DataDir = Annotated[
    Path | None,
    option("--data-dir", panel=PLACE, envvar="ROBBENCH_DATA_DIR", help="Folder of the data sets."),
]
Download = Annotated[
    bool, option("--download", panel=PLACE, help="Allow missing data and weights to be downloaded.")
]

Config = Annotated[
    Path | None,
    option("-c", "--config", panel=RUN, help="TOML file with settings, by their names."),
]
Set = Annotated[
    list[str] | None,
    option(
        "-S",
        "--set",
        panel=RUN,
        metavar="KEY=VALUE",
        help="Any setting by name, also those without a flag.",
    ),
]
Device = Annotated[
    str,
    option("--device", panel=RUN, envvar="ROBBENCH_DEVICE", help="auto, cpu, cuda, cuda:N or mps."),
]
Seed = Annotated[
    int | None, option("--seed", panel=RUN, help="All random numbers follow from it (default: 0).")
]
Limit = Annotated[
    str | None,
    option(
        "-n",
        "--limit",
        panel=RUN,
        metavar="N",
        help="Only the first N samples; stratified=N: of all classes.",
    ),
]
BatchSize = Annotated[
    str | None,
    option(
        "-b",
        "--batch-size",
        panel=RUN,
        metavar="N|auto",
        help="Samples in flight; no verdict depends on it.",
    ),
]
Jobs = Annotated[
    int | None,
    option(
        "-j",
        "--jobs",
        panel=RUN,
        min=1,
        metavar="N",
        help="Tasks at a time, each in a process with its share of the cores and GPUs "
        "(default: 1; on Ray: as many as fit).",
    ),
]
EngineName = Annotated[
    str,
    option(
        "--engine",
        panel=RUN,
        metavar="SPEC",
        help="Where tasks run: local, this machine; ray, a Ray cluster; ray:cpus=2,gpus=0.5 says "
        "what each task holds there.",
    ),
]
Address = Annotated[
    str | None,
    option(
        "--address",
        panel=RUN,
        metavar="ADDRESS",
        help="Of the Ray cluster: auto, HOST:PORT or ray://HOST:PORT (default: RAY_ADDRESS, or "
        "a cluster of this machine alone).",
    ),
]
Force = Annotated[bool, option("--force", panel=RUN, help="Do it again and replace what is there.")]
# Read by core/trust.py from the command line itself: nothing else can switch it on.
TrustCode = Annotated[
    bool,
    option(
        "--trust-code",
        panel=RUN,
        help="Import private code (module:name) that files name, not only what is typed here.",
    ),
]
DryRun = Annotated[
    bool, option("--dry-run", panel=RUN, help="Say what would be done; write nothing.")
]


def known_runs(incomplete: str) -> list[str]:
    """Models and run ids of the output folder that begin so, for the shell's completion.

    From names of files alone.
    """
    root = Path(os.environ.get("ROBBENCH_OUT", "runs"))
    models = [path.name for path in (root / "models").glob("*") if path.is_dir()]
    ids = [path.stem for path in (root / "results" / "runs").glob("*.parquet")]
    return sorted(
        name for name in models + ids if name.startswith(incomplete) and name.isprintable()
    )


Runs = Annotated[
    list[str] | None,
    typer.Argument(
        autocompletion=known_runs,
        metavar="[RUN]...",
        help="Model names, run ids, Parquet files, folders, addresses such as s3://bucket/runs, "
        "or patterns of these; NAME@latest is the last run of NAME; "
        "nothing means all of the store.",
    ),
]
Where = Annotated[
    list[str] | None,
    option(
        "--where",
        panel=WHICH,
        metavar="COLUMN=VALUE",
        help="Only runs of which this holds, such as threat=linf:0.15 or tag=nightly.",
    ),
]

Json = Annotated[bool, option("--json", panel=SHOW, help="One JSON object on stdout.")]
Quiet = Annotated[bool, option("-q", "--quiet", panel=SHOW, help="No progress, no messages.")]
Verbose = Annotated[bool, option("-v", "--verbose", panel=SHOW, help="More messages.")]
Title = Annotated[str, option("--title", panel=SHOW, help="Title of the page.")]
Open = Annotated[bool, option("--open", panel=SHOW, help="Show the page in a browser.")]
