"""What tasks print: a file each."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

LINES, CHARACTERS = 20, 4000  # of the end that an outcome has


def log_path(folder: Path, task: str) -> Path:
    """The file that a task prints into, all its tries one after the other."""
    plain = re.sub(r"[^\w.=+-]", "_", task, flags=re.ASCII)[:100]
    if plain != task or plain.startswith("."):
        plain = f"{plain.lstrip('.')}-{hashlib.sha256(task.encode()).hexdigest()[:8]}"
    return folder / f"{plain}.log"


def size(path: Path) -> int:
    """Bytes in a file, 0 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def tail(path: Path, start: int = 0) -> str:
    """The last lines of a log, of what was written after its first `start` bytes."""
    try:
        with path.open("rb") as file:
            file.seek(max(start, size(path) - 4 * CHARACTERS))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-LINES:])[-CHARACTERS:]


@contextlib.contextmanager
def printed_into(path: Path) -> Iterator[None]:
    """Inside, what this process prints goes to the end of a file; an empty one is removed.

    Also what C code and child processes print, as it is the descriptors 1 and 2 that change.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    before = [os.dup(1), os.dup(2)]
    _print_to(opened, opened)
    os.close(opened)
    try:
        yield
    finally:
        _print_to(*before)
        for each in before:
            os.close(each)
        if not size(path):
            with contextlib.suppress(OSError):
                path.unlink()


def _print_to(stdout: int, stderr: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # the disk is full: what a task prints is no result
            stream.flush()
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
