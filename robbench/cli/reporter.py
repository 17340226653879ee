"""Output of a command: messages and progress on stderr, results on stdout, errors in a line."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ParamSpec, TextIO, TypeVar

import typer

from robbench.cli.log import log_shown
from robbench.cli.progress import LiveBar, PlainBar
from robbench.core import files
from robbench.core.errors import RobbenchError, Stopped, text_of
from robbench.core.escaping import one_line, printable, without_password
from robbench.core.guest import culprit
from robbench.tasks.listener import Bar, Listener

if TYPE_CHECKING:
    from robbench.analysis.forecast import Forecast

P = ParamSpec("P")
R = TypeVar("R")
LONGEST_LINE = 2000


def fail(message: str, code: int) -> typer.Exit:
    """Print one error line, of a long one the beginning and the end; raise what it returns."""
    line = " ".join(without_password(message).split())
    if len(line) > LONGEST_LINE:
        line = f"{line[: LONGEST_LINE // 2]} ... {line[-LONGEST_LINE // 4 :]}"
    print(f"error: {one_line(line.encode(errors='backslashreplace').decode())}", file=sys.stderr)
    return typer.Exit(code)


def _first_cause(error: BaseException) -> BaseException | None:
    """The exception that one of robbench's tells of; None for none, or a chain that is a circle."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while isinstance(cause, RobbenchError) and id(cause) not in seen:
        seen.add(id(cause))
        cause = cause.__cause__
    return None if isinstance(cause, RobbenchError) else cause


def error_line(error: BaseException) -> tuple[str, int]:
    """One line about an exception, and its exit code.

    2: bad input, the user's own code included. 3: a fault of the machine or of ours.
    """
    if isinstance(error, RobbenchError):
        cause = _first_cause(error)
        if cause is not None and (whose := culprit(cause)):
            return f"{error} ({whose.place})", 2
        return str(error), error.exit_code
    if isinstance(error, OSError) and error.errno in _BAD_NAMES and error.filename:
        return f"{str(error.filename)[:100]}: {error.strerror}; choose a shorter or another name", 2
    if (
        isinstance(error, MemoryError)
        or "OutOfMemory" in type(error).__name__
        or "can't allocate memory" in text_of(error)
    ):
        return "out of memory; a smaller model, --batch-size or --limit needs less", 3
    said = text_of(error)
    what = f"{type(error).__name__}: {said}" if said else type(error).__name__
    if whose := culprit(error):
        return f"{whose.name} raised {what} ({whose.place}). {_TRACEBACK}", 2
    if isinstance(error, SystemExit):
        return (
            f"code that was imported ended the process (SystemExit {error.code}); nothing was "
            "decided",
            3,
        )
    if isinstance(error, OSError) and error.errno is not None:
        return f"{error.strerror}{f': {error.filename}' if error.filename else ''}", 3
    return (
        f"internal error, {what} (a bug in robbench: please report it with what ROBBENCH_DEBUG=1 "
        "shows)",
        3,
    )


_TRACEBACK = "Set ROBBENCH_DEBUG=1 for the traceback"
_BAD_NAMES = (errno.ENAMETOOLONG, errno.ELOOP, errno.EILSEQ)


def reported(command: Callable[P, R]) -> Callable[P, R]:
    """Turn every exception of a command into one line on stderr and the right exit code."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        from robbench.tasks.signals import raised

        try:
            with (
                raised(),
                _results_apart(),
                log_shown(quiet=bool(kwargs.get("quiet"))),
                _out_here(kwargs) as given,
            ):
                done = command(*args, **given)
                results().flush()
                return done
        except (Stopped, KeyboardInterrupt) as stopped:
            print(
                "stopped; finished epochs and decided samples are kept. To go on: "
                f"{resume_command()}",
                file=sys.stderr,
            )
            raise typer.Exit(getattr(stopped, "exit_code", 130)) from None
        except BaseException as error:  # a user's code may raise any
            if (ends := _ends_silently(error)) is not None:
                raise ends from None
            if os.environ.get("ROBBENCH_DEBUG"):
                raise
            raise fail(*error_line(error)) from None

    return wrapped


@contextlib.contextmanager
def _out_here(given: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The arguments of a command, with a working copy in place of an address as `out`."""
    if not isinstance(given.get("out"), str):
        yield given
        return
    from robbench.store.address.copies import working_copy

    reporter = Reporter(quiet=bool(given.get("quiet")), verbose=False)
    with working_copy(given["out"], reporter.say) as out:
        yield {**given, "out": out}


def _ends_silently(error: BaseException) -> BaseException | None:
    """What to raise where a command ends without an error line; None where a user's code did it."""
    if not isinstance(error, typer.Exit | typer.Abort | BrokenPipeError) or culprit(error):
        return None
    # The reader of stdout, such as `head`, has gone.
    return typer.Exit(141) if isinstance(error, BrokenPipeError) else error


_results: TextIO | None = None


def results() -> TextIO:
    """The stream of a command's result: stdout, protected from other output during a command."""
    return _results or sys.stdout


@contextlib.contextmanager
def _results_apart() -> Iterator[None]:
    """Let `print` in models, losses and other packages write to stderr.

    `results` is stdout meanwhile.
    """
    global _results
    outer, before = _results, sys.stdout
    _results, sys.stdout = outer or before, sys.stderr
    try:
        yield
    finally:
        _results, sys.stdout = outer, before


def stdout_for_results() -> None:
    """Give `sys.stdout` a descriptor of its own, and make 1 another name of stderr.

    So C code and child processes do not print into results. For the process of the command:
    nothing is put back. Does nothing where stdout is no descriptor 1.
    """
    try:
        if sys.stdout.fileno() != 1:
            return
        own = os.dup(1)
        os.dup2(2, 1)
    except (AttributeError, OSError, ValueError):  # closed, or something else in its place
        return
    before, files.standard_output = sys.stdout, own
    sys.stdout = os.fdopen(
        own, "w", 1 if before.line_buffering else -1, before.encoding, before.errors
    )


def resume_command() -> str:
    """The command line that continues a stopped run: the same one, without --force."""
    words = [without_password(word) for word in sys.argv[1:] if word != "--force"]
    return shlex.join(["robbench", *words])


class Reporter(Listener):
    """Messages at the chosen loudness.

    Progress is a live bar on a terminal, plain lines elsewhere.
    """

    def __init__(self, *, quiet: bool, verbose: bool) -> None:
        self.quiet, self.verbose = quiet, verbose

    def say(self, text: str) -> None:
        """A message, unless --quiet."""
        if not self.quiet:
            print(one_line(text), file=sys.stderr)

    def detail(self, text: str) -> None:
        """A message for --verbose."""
        if self.verbose and not self.quiet:
            print(one_line(text), file=sys.stderr)

    def forecast(self, title: str, make: Callable[[], Forecast]) -> Forecast | None:
        """A line, unless --quiet: then nothing is measured either."""
        if self.quiet:
            return None
        from robbench.reports.terminal.forecast import forecast_line

        found = make()
        if found.samples:
            self.say(f"{title}: {forecast_line(found)}")
        return found

    @contextlib.contextmanager
    def progress(self, title: str) -> Iterator[Bar]:
        """A bar for one job."""
        if self.quiet:
            yield Bar()
        elif not sys.stderr.isatty():
            yield PlainBar(title)
        else:
            from rich.console import Console

            from robbench.cli.live import LiveDisplay

            with LiveDisplay(Console(stderr=True)) as live:
                yield LiveBar(live, live.add_task(live.title(title), total=1.0, note="", left=""))


def print_result(text: str = "", end: str = "\n") -> None:
    """A line or more of a command's result on stdout.

    Names in it are others', so control characters are shown as `?`.
    """
    print(printable(text), end=end, file=results())


def print_json(schema: str, **content: Any) -> None:
    """The one JSON object of a command on stdout."""
    from robbench.core.spec import finite  # not needed for --help

    print(
        json.dumps(finite({"schema": schema, **content}), indent=2, default=str, allow_nan=False),
        file=results(),
    )


def print_rich(renderable: Any, at_least: int = 0) -> None:
    """A table or text on stdout, as wide as the terminal or COLUMNS.

    Elsewhere 80 columns, or `at_least` so many; a CI's log has no width.
    """
    from rich.console import Console

    width = None if results().isatty() else _columns() or max(80, at_least)
    # Names are others': no markup in them, and no escape sequence.
    console = Console(file=results(), width=width, markup=False, emoji=False)
    with console.capture() as text:  # rich exits when the reader has gone
        console.print(_Harmless(renderable))
    print(text.get(), end="", file=results())


_NO_WIDTH = 10_000  # columns of a log, whose lines may be long


def _columns() -> int | None:
    """How wide what is no terminal should be taken for, None where nobody says."""
    said = os.environ.get("COLUMNS", "")
    if said.isascii() and said.isdecimal() and 0 < int(said) <= _NO_WIDTH:
        return int(said)
    return _NO_WIDTH if os.environ.get("CI", "").lower() not in ("", "0", "false") else None


class _Harmless:
    """A renderable without control characters but those of its own styles."""

    def __init__(self, renderable: Any) -> None:
        self.renderable = renderable

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        for segment in console.render(self.renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))
