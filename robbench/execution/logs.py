"""What tasks print: a file each."""

from __future__ import annotations

import contextlib
import hashlib
import re
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


def drop_empty(path: Path) -> None:
    """Remove a log that nothing was printed into."""
    if not size(path):
        with contextlib.suppress(OSError):
            path.unlink()
