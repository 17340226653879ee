"""Files that are either whole or absent, and outputs that may also go into a device or a pipe."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from robbench.core.errors import RobbenchError, RunError, UserError
from robbench.core.leftovers import sweep, temporary_in

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_MAY_NOT = {errno.EACCES, errno.EPERM, errno.EROFS}
_IN_THE_WAY = {errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY}


standard_output = 1
"""The descriptor of /dev/stdout; a command has its own, away from what models print."""


def atomic_write(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file, then put it at `path` in one step.

    A reader sees the old content or the new, never a part.

    `write` gets a temporary path in the same folder (made if needed), which is removed when
    anything fails; what processes that were killed have left there is removed too. Raises UserError
    where nothing may be written, RunError when the file system refuses (disk full); other errors of
    `write` pass through.
    """
    temporary = temporary_in(path.parent)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent)
        _filled(temporary, write)
        _sync(temporary, os.O_RDWR)
        temporary.replace(path)
        # Not every system can sync a folder; the rename is atomic all the same.
        with contextlib.suppress(OSError):
            _sync(path.parent, os.O_RDONLY)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def cannot_write(path: Path, error: OSError, verb: str = "write") -> RobbenchError:
    """What to say when the system refuses to write to a path, and what to do about it."""
    reason = f"cannot {verb} {path}: {error.strerror or error}"
    if error.errno in _MAY_NOT:
        return UserError(f"{reason}; choose a place that may be written to")
    if error.errno in _IN_THE_WAY:
        return UserError(f"{reason}; move away what is there, or choose another place")
    if error.errno in _FULL:
        reason += "; make room and give the same command again, what was finished is kept"
    return RunError(reason)


def check_writable(folder: Path, option: str = "--out") -> None:
    """Make a folder and try to write there, before the work. Raises UserError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"cannot write to {folder}: {error.strerror or error}; choose another {option}"
        ) from error


def _filled(temporary: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill the file; OSError also for what libraries raise instead.

    Rust ones (safetensors) name the number; for others (torch) the system is asked again.
    """
    try:
        write(temporary)
    except (OSError, RobbenchError):
        raise
    except Exception as error:
        if number := re.search(r"\(os error (\d+)\)", str(error)):
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error
        with temporary.open("ab") as file:
            file.write(bytes(1 << 20))
            file.flush()
            os.fsync(file.fileno())
        raise


def require_output(*paths: Path) -> None:
    """Raise UserError, before the work, for a path that `write_output` refuses.

    Also for two that are one file: the second would replace the first.
    """
    chosen = [path for path in paths if _descriptor(path) is None]
    places = [_resolve(path) for path in chosen]
    for path, place in zip(chosen, places, strict=True):
        if places.count(place) > 1 and (place.is_file() or not place.exists()):
            raise UserError(f"{path} cannot hold two results: name two files")


def write_output(path: Path, write: Callable[[Path], object]) -> None:
    """`atomic_write` for a path that a user gave.

    Devices and pipes are written into; of a link the target is replaced.

    Raises UserError for what is no place for a file (a folder, a socket, a disk), RunError as
    `atomic_write` does.
    """
    descriptor = _descriptor(path)
    target = path if descriptor is not None else _resolve(path)
    if descriptor is None and not (target.exists() and not target.is_file()):
        atomic_write(target, write)
        return
    try:
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder) / path.name)
            with (
                (Path(folder) / path.name).open("rb") as source,
                _open_special(target, descriptor) as sink,
            ):
                shutil.copyfileobj(source, sink)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise RunError(f"cannot write {path}: no process reads this pipe") from error
        raise cannot_write(path, error) from error


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _open_special(target: Path, descriptor: int | None) -> IO[bytes]:
    if descriptor is not None:
        sys.stdout.flush()  # what was printed before comes before
        return os.fdopen(os.dup(standard_output if descriptor == 1 else descriptor), "wb")
    # Without waiting: opening a pipe without a reader would never return.
    opened = os.open(target, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    os.set_blocking(opened, True)
    return os.fdopen(opened, "wb")


def _descriptor(path: Path) -> int | None:
    """N for /dev/fd/N, /dev/stdout and the like: written through our own descriptor."""
    for _ in range(8):  # links: /dev/stdout is one
        whole = os.path.abspath(path)  # noqa: PTH100 - follows no links
        if found := re.fullmatch(r"/(?:dev|proc/self)/fd/([0-9]{1,6})", whole):
            return int(found[1])
        if not path.is_symlink():
            return None
        path = path.parent / path.readlink()
    return None


def _resolve(path: Path) -> Path:
    """Where a path leads. Raises UserError where that is no place for a file."""
    target = Path(os.path.realpath(path))
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        mode = stat.S_IFREG
    except NotADirectoryError:
        raise UserError(f"{path} is no place for a file: its parent is not a folder") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in it
        why = getattr(error, "strerror", None) or error
        raise UserError(f"{path} is no place for a file: {why}") from None
    if not (stat.S_ISREG(mode) or stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)):
        kind = "folder" if stat.S_ISDIR(mode) else "socket" if stat.S_ISSOCK(mode) else "disk"
        raise UserError(f"{path} is no place for a file: it is a {kind}")
    return target


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
