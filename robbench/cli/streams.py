"""Streams that are closed, full or no longer read: they change no verdict."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from robbench.cli import reporter
from robbench.core.errors import RunError


@contextlib.contextmanager
def result_of_a_verdict() -> Iterator[None]:
    """Print a result whose verdict is the exit code, also when the reader has gone (`head`).

    Raises RunError where the result cannot be written for another reason.
    """
    try:
        yield
        reporter.results().flush()
    except BrokenPipeError:
        swallow(reporter.results())
    except OSError as error:
        swallow(reporter.results())
        raise RunError(
            f"the result cannot be written to stdout: {error.strerror or error}"
        ) from error


def swallow(stream: TextIO) -> None:
    """From now on let go of what is written to a stream, and of what has not left it yet."""
    with contextlib.suppress(OSError, ValueError):  # no file: nothing to let go of
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


@contextlib.contextmanager
def streams_that_hold() -> Iterator[None]:
    """For the time of a process: stderr never fails, and what goes to a closed stream is lost."""
    stderr = sys.stderr
    with contextlib.ExitStack() as stack:
        if sys.stdout is None:
            stack.enter_context(contextlib.redirect_stdout(stack.enter_context(_nowhere())))
        kept = stack.enter_context(_nowhere()) if stderr is None else _Patient(stderr)
        stack.enter_context(contextlib.redirect_stderr(kept))
        try:
            yield
        finally:
            for stream in (sys.stdout, stderr):  # Python would end with 120
                if stream is not None:
                    _flushed(stream)


def _flushed(stream: TextIO) -> None:
    try:
        stream.flush()
    except (OSError, ValueError):
        swallow(stream)


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")


class _Patient:
    """A text stream whose failures to write are not heard of."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """As of a text stream."""
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """As of a text stream."""
        with contextlib.suppress(OSError):
            self._stream.flush()
