"""Files that are either whole or absent."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable
from pathlib import Path

from robbench.core.errors import RunError


def atomic_write(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file, then put it at `path` in one step: a reader sees the old content or the new, never a part.

    `write` gets a temporary path in the same folder (made if needed), which is removed when anything fails.
    Raises RunError when the file system refuses (disk full, no permission); other errors of `write` pass through.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        _sync(temporary, os.O_RDWR)
        temporary.replace(path)
        with contextlib.suppress(OSError):  # not every system can sync a folder; the rename is atomic all the same
            _sync(path.parent, os.O_RDONLY)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
