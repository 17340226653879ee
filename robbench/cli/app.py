"""The `robbench` command.

Commands live one per file and import what they need only when they run.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated

import typer

import robbench
from robbench.cli.attack import attack
from robbench.cli.baseline import baseline
from robbench.cli.card import card
from robbench.cli.cascade import cascade
from robbench.cli.catalogue import list_
from robbench.cli.certify import certify
from robbench.cli.check import check
from robbench.cli.command import Command
from robbench.cli.compare import compare
from robbench.cli.demo import demo
from robbench.cli.doctor import doctor
from robbench.cli.explain import explain
from robbench.cli.export import export
from robbench.cli.gate import gate
from robbench.cli.history import history
from robbench.cli.inspect import inspect
from robbench.cli.measure import measure
from robbench.cli.merge import merge
from robbench.cli.plot import plot
from robbench.cli.query import query
from robbench.cli.report import report
from robbench.cli.reporter import error_line, fail, stdout_for_results
from robbench.cli.show import runs, show
from robbench.cli.streams import streams_that_hold
from robbench.cli.sweep import sweep
from robbench.cli.train import train
from robbench.cli.verify import bundle, verify
from robbench.cli.view import view
from robbench.core.errors import UserError
from robbench.core.reproducible import prepare
from robbench.core.trust import command_line

app = typer.Typer(
    name="robbench",
    help="Does a training loss make an image classifier more robust? Train, attack, compare.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
WORK, EVIDENCE, RESULTS, ABOUT = "Train and attack", "Evidence", "Results", "About"
app.command(rich_help_panel=WORK, cls=Command)(train)
app.command(rich_help_panel=WORK, cls=Command)(attack)
app.command(rich_help_panel=WORK, cls=Command)(sweep)
app.command(rich_help_panel=WORK, cls=Command)(merge)
app.command(rich_help_panel=WORK, cls=Command)(inspect)
app.command(rich_help_panel=WORK, cls=Command)(demo)
app.command(rich_help_panel=RESULTS, cls=Command)(compare)
app.command(rich_help_panel=RESULTS, cls=Command)(show)
app.command(rich_help_panel=RESULTS, cls=Command)(runs)
app.command(rich_help_panel=RESULTS, cls=Command)(history)
app.command(rich_help_panel=RESULTS, cls=Command)(query)
app.command(rich_help_panel=RESULTS, cls=Command)(report)
app.command(rich_help_panel=RESULTS, cls=Command)(view)
app.command(rich_help_panel=RESULTS, cls=Command)(plot)
app.command(rich_help_panel=RESULTS, cls=Command)(export)
app.add_typer(cascade, name="cascade", rich_help_panel=RESULTS)
app.command(rich_help_panel=EVIDENCE, cls=Command)(check)
app.command(rich_help_panel=EVIDENCE, cls=Command)(certify)
app.command(rich_help_panel=EVIDENCE, cls=Command)(measure)
app.command(rich_help_panel=EVIDENCE, cls=Command)(verify)
app.command(rich_help_panel=EVIDENCE, cls=Command)(bundle)
app.command(rich_help_panel=EVIDENCE, cls=Command)(card)
app.command(rich_help_panel=EVIDENCE, cls=Command)(gate)
app.command(rich_help_panel=EVIDENCE, cls=Command, no_args_is_help=True)(baseline)
app.command("list", rich_help_panel=ABOUT, cls=Command)(list_)
app.command(rich_help_panel=ABOUT, cls=Command)(explain)
app.command(rich_help_panel=ABOUT, cls=Command)(doctor)


def _version(show: bool) -> None:
    if show:
        print(f"robbench {robbench.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Does a training loss really make an image classifier more robust? Train, attack, compare."""


def hyphens(words: list[str]) -> list[str]:
    """`--batch_size=4` -> `--batch-size=4`, for fingers trained on other tools.

    Values and what follows `--` stay.
    """
    changed, verbatim = [], False
    for word in words:
        verbatim = verbatim or word == "--"
        name, equals, value = word.partition("=")
        changed.append(
            name.replace("_", "-") + equals + value
            if name.startswith("--") and not verbatim
            else word
        )
    return changed


def main() -> None:
    """Entry point of the console script: run a command, end with its exit code."""
    prepare()
    with streams_that_hold():
        stdout_for_results()
        sys.exit(run(sys.argv[1:]))


def run(words: list[str]) -> int:
    """Run a command line; gives back its exit code.

    Raises what went wrong inside only under ROBBENCH_DEBUG.
    """
    try:
        _settle(words)
        words = hyphens(words)
        with command_line(words):
            code = app(words, standalone_mode=False)
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except typer.Exit as exit_:
        return exit_.exit_code
    except (Exception, SystemExit) as error:
        # The parser's own errors: their class is not public, what they say and their exit code are.
        if not hasattr(error, "format_message"):
            # Rich exits when the reader of its help has gone.
            if isinstance(error.__context__, BrokenPipeError):
                return 141
            if os.environ.get("ROBBENCH_DEBUG"):
                raise
            return fail(*error_line(error)).exit_code
        code = getattr(error, "exit_code", 2)
        if error.format_message():
            context = getattr(error, "ctx", None)
            fail(
                f"{error.format_message().rstrip('.')}. See: "
                f"{context.command_path if context else 'robbench'} --help",
                code,
            )
    return code if isinstance(code, int) else 0


def _settle(words: list[str]) -> None:
    """Refuse arguments that are no text, let streams write any, drop invalid screen widths."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    for name in ("COLUMNS", "LINES", "TERMINAL_WIDTH"):
        value = os.environ.get(name, "80")
        if not (value.isascii() and value.isdecimal() and len(value) < 5 and int(value) > 0):
            del os.environ[name]
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise UserError(
                f"the argument {word!r} is not valid UTF-8: rename what it names, or go there and "
                "use '.'"
            ) from None
