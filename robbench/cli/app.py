"""The `robbench` command. Commands live one per file and import what they need only when they run."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

import robbench
from robbench.cli.attack import attack
from robbench.cli.baseline import baseline
from robbench.cli.catalogue import explain, list_
from robbench.cli.check import check
from robbench.cli.compare import compare
from robbench.cli.demo import demo
from robbench.cli.doctor import doctor
from robbench.cli.gate import gate
from robbench.cli.measure import measure
from robbench.cli.query import query
from robbench.cli.report import report
from robbench.cli.reporter import fail
from robbench.cli.show import runs, show
from robbench.cli.train import train

app = typer.Typer(
    name="robbench",
    help="Does a training loss really make an image classifier more robust? Train, attack, compare.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
WORK, EVIDENCE, RESULTS, ABOUT = "Train and attack", "Evidence", "Results", "About"
app.command(rich_help_panel=WORK)(train)
app.command(rich_help_panel=WORK)(attack)
app.command(rich_help_panel=WORK)(demo)
app.command(rich_help_panel=RESULTS)(compare)
app.command(rich_help_panel=RESULTS)(show)
app.command(rich_help_panel=RESULTS)(runs)
app.command(rich_help_panel=RESULTS)(query)
app.command(rich_help_panel=RESULTS)(report)
app.command(rich_help_panel=EVIDENCE)(check)
app.command(rich_help_panel=EVIDENCE)(measure)
app.command(rich_help_panel=EVIDENCE)(gate)
app.command(rich_help_panel=EVIDENCE)(baseline)
app.command("list", rich_help_panel=ABOUT)(list_)
app.command(rich_help_panel=ABOUT)(explain)
app.command(rich_help_panel=ABOUT)(doctor)


def _version(show: bool) -> None:
    if show:
        print(f"robbench {robbench.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    """Does a training loss really make an image classifier more robust? Train, attack, compare."""


def hyphens(words: list[str]) -> list[str]:
    """`--batch_size=4` -> `--batch-size=4`, for fingers trained on other tools; values and what follows `--` stay."""
    changed, verbatim = [], False
    for word in words:
        verbatim = verbatim or word == "--"
        name, equals, value = word.partition("=")
        changed.append(name.replace("_", "-") + equals + value if name.startswith("--") and not verbatim else word)
    return changed


def main() -> None:
    """Entry point of the console script: run a command, end with its exit code."""
    # Torch's threads spin while they wait, which on a busy machine makes small models ten times slower. Read when torch loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        code = app(hyphens(sys.argv[1:]), standalone_mode=False)
    except typer.Abort:
        code = 130
    except Exception as error:
        # The parser's own errors: their class is not public, what they say and their exit code are.
        if not hasattr(error, "format_message"):
            raise
        code = getattr(error, "exit_code", 2)
        if error.format_message():
            context = getattr(error, "ctx", None)
            fail(f"{error.format_message().rstrip('.')}. See: {context.command_path if context else 'robbench'} --help", code)
    sys.exit(code if isinstance(code, int) else 0)
