"""Names for what a process is making or removing, so that leftovers of dead ones can go."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import shutil
import socket
import time
import uuid
from pathlib import Path

_TEMPORARY = re.compile(r"\.robbench-([0-9a-f]{8})-(\d+)-[0-9a-f]{8}\.tmp")
_DAY = 86400.0


def temporary_in(folder: Path) -> Path:
    """A name for something that is being made or removed there; it says which process does."""
    return folder / f".robbench-{here()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp"


def is_temporary(name: str) -> bool:
    """Whether a file of that name is what a write in progress, or one that was killed, has left."""
    return _TEMPORARY.fullmatch(name) is not None


def sweep(folder: Path) -> None:
    """Remove leftovers of this machine's dead processes, and older than a day of other machines."""
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(folder)):
            if (name := _TEMPORARY.fullmatch(entry.name)) is None:
                continue
            with contextlib.suppress(OSError):  # another process may sweep too
                near = name[1] == here()
                if (near and not lives(int(name[2]))) or time.time() - entry.stat().st_mtime > _DAY:
                    remove(Path(entry.path))


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that it holds. Raises OSError."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


@functools.cache
def here() -> str:
    """8 hexadecimal digits for this machine since its start, as its processes see it."""
    facts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        facts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"))
        facts.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    return hashlib.blake2b("\n".join(facts).encode(), digest_size=4).hexdigest()


def lives(pid: int) -> bool:
    """Whether a process of this machine has not ended."""
    if os.name == "nt":  # no harmless question to a process there
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
