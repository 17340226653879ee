"""One process at a time: a lock that the system releases when its owner dies."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from robbench.core.errors import UserError
from robbench.core.files import cannot_write

try:
    import fcntl
except ImportError:  # not on this system
    fcntl = None  # type: ignore[assignment]

# A link is not followed: what it leads to would be emptied.
_FLAGS = (
    os.O_RDWR
    | os.O_CREAT
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
)
_NO_FILE = (errno.ELOOP, errno.EISDIR, errno.ENXIO)  # of a link, a folder, a socket
_PAUSE = 0.1  # seconds between two tries: a signal is heard between them


@contextlib.contextmanager
def locked(
    path: Path,
    what: str,
    *,
    say: Callable[[str], None],
    asked_to_stop: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """Own `what` for the time of a block; `path` is the lock's file, which goes with its owner.

    Waits for another owner and `say`s who it is; `asked_to_stop` raises what ends the wait. Where
    the file system has no locks, it `say`s so and runs the block all the same.
    Raises UserError or RunError when the file cannot be made.
    """
    handle = _take(path, what, say, asked_to_stop)
    try:
        yield
    finally:
        if handle is not None:
            with contextlib.suppress(OSError):
                # First: those who wait check that the file they locked still has that name.
                path.unlink()
            os.close(handle)


def _take(
    path: Path, what: str, say: Callable[[str], None], asked_to_stop: Callable[[], None]
) -> int | None:
    said = False
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, _FLAGS, 0o666)
        except OSError as error:
            if error.errno in _NO_FILE:
                raise UserError(_is_no_lock(path)) from None
            if path.parent.exists() and not path.parent.is_dir():
                raise UserError(
                    f"{path.parent} should be a folder for locks, and is a file: remove it"
                ) from None
            raise cannot_write(path, error) from error
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise UserError(_is_no_lock(path))
        try:
            if fcntl is None:
                raise OSError
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not said:
                say(f"{what}: {_owner(handle)} is working on it; waiting for it to end")
            said = True
            os.close(handle)
            asked_to_stop()
            time.sleep(_PAUSE)
            continue
        except OSError:
            os.close(handle)
            with contextlib.suppress(OSError):
                path.unlink()
            say(f"{path.parent} has no file locks: make sure that no other process works on {what}")
            return None
        except BaseException:
            os.close(handle)
            raise
        if _is_current(handle, path):
            _sign(handle)
            return handle
        os.close(handle)  # of an owner that has ended just now


def _is_no_lock(path: Path) -> str:
    return f"{path} should be a lock's file, and is a link, a folder, a pipe or a device: remove it"


def _is_current(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except OSError:
        return False


def _sign(handle: int) -> None:
    now = datetime.now().astimezone()
    text = f"process {os.getpid()} on {socket.gethostname()} since {now:%Y-%m-%d %H:%M:%S %z}"
    with contextlib.suppress(OSError):  # a full disk: the holder stays unnamed
        os.ftruncate(handle, 0)
        os.pwrite(handle, text.encode(), 0)


def _owner(handle: int) -> str:
    text = os.pread(handle, 1000, 0).decode(errors="replace")
    return text if text.startswith("process ") and text.isprintable() else "another process"
