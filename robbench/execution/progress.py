"""How far a task is: said by its worker in a small file, read by the engine."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

EVERY = 1.0  # seconds between two writes

_path: Path | None = None
_due = 0.0


@contextlib.contextmanager
def progress_into(path: Path) -> Iterator[None]:
    """Inside, what `report` says goes into a file, which exists as long as the task."""
    global _path, _due
    _path, _due = path, 0.0
    try:
        report(0.0, "")
        _due = 0.0
        yield
    finally:
        _path = None
        with contextlib.suppress(OSError):
            path.unlink()


def report(share: float, text: str) -> None:
    """Say that this share of the task is done, in [0,1]. May be called often."""
    global _due
    now = time.monotonic()
    if _path is None or now < _due:
        return
    _due = now + EVERY
    temporary = _path.with_suffix(".new")
    with contextlib.suppress(OSError):  # no result depends on it
        temporary.write_text(json.dumps({"share": share, "text": text}), encoding="utf-8")
        temporary.replace(_path)


def read(path: Path) -> tuple[float, str]:
    """The last share and text in a file; 0 and nothing where there are none."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return float(said["share"]), str(said["text"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0, ""
