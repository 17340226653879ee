"""Claims: files that say who works on something, and whether that owner is still alive.

Each owner has a file of its own, `<path>.<token>.<machine>.<alone|shared>`. It holds the system's
lock of its file, which ends with the process, and renews the file's time every BEAT seconds, for
machines that this lock does not reach. An owner on another machine, or on a file system without
locks, counts as dead after SILENCE seconds without a beat.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
import stat
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from robbench.core.errors import UserError
from robbench.core.files import cannot_write
from robbench.core.leftovers import here

try:
    import fcntl
except ImportError:  # not on this system
    fcntl = None  # type: ignore[assignment]

BEAT = 5.0
"""Seconds between two signs of life."""
SILENCE = 60.0
"""Seconds without a sign of life after which an owner counts as dead."""
_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_SUFFIX = re.compile(r"\.([0-9a-f]{24})\.([0-9a-f]{8})\.(alone|shared)")


class InUseError(Exception):
    """Another process looks at the new file just now: make another."""


class Claim:
    """This process's claim on `path`, alone or shared; of two, the one of lower `order` is first.

    Making one writes nothing.
    """

    def __init__(self, path: Path, order: int, shared: bool) -> None:
        self.token = f"{order:016x}{secrets.token_hex(4)}"
        mode = "shared" if shared else "alone"
        self.path = path.with_name(f"{path.name}.{self.token}.{here()}.{mode}")
        self._handle: int | None = None
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True)

    def make(self) -> float:
        """Write the file; returns the file system's clock less `time.monotonic()`, in seconds.

        Raises UserError or RunError when it cannot be written, InUseError.
        """
        folder = self.path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Closed before it is locked: some file systems show it to others only then.
            made = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS, 0o666)
            try:
                with contextlib.suppress(OSError):  # a full disk: the owner stays unnamed
                    os.write(made, _signature().encode())
            finally:
                os.close(made)
            offset = self.path.stat().st_mtime - time.monotonic()
            self._handle = os.open(self.path, os.O_RDWR | _FLAGS)
        except FileNotFoundError:  # taken for a dead one's, as it was not locked yet
            raise InUseError from None
        except OSError as error:
            if folder.exists() and not folder.is_dir():
                raise UserError(
                    f"{folder} should be a folder for locks, and is a file: remove it"
                ) from None
            raise cannot_write(self.path, error) from error
        if _flock(self._handle, "LOCK_EX") is False:
            raise InUseError
        return offset

    def is_there(self) -> bool:
        """Whether the file is there: nobody has taken this process for dead."""
        return self.path.exists()

    def keep(self) -> None:
        """Show from now on that this process is alive."""
        self._heart.start()

    def withdraw(self) -> None:
        """Remove the file."""
        self._ended.set()
        if self._heart.ident is not None:
            self._heart.join()
        with contextlib.suppress(OSError):
            self.path.unlink()
        if self._handle is not None:
            os.close(self._handle)

    def _beat(self) -> None:
        while not self._ended.wait(BEAT):
            with contextlib.suppress(OSError):
                os.utime(self.path)


@dataclass(frozen=True)
class Owner:
    """Another one who claims it; `text` says `process 12 on host since ...`."""

    token: str
    text: str


@dataclass
class Others:
    """The claims of others on `path`, as far as they exclude one's own, `shared` or alone."""

    path: Path
    shared: bool
    offset: float = 0.0
    """As `Claim.make` returns it."""
    _seen: dict[str, tuple[int, float]] = field(default_factory=dict)

    def alive(self, own: Claim | None = None) -> list[Owner]:
        """Those whose owner is alive, first come first.

        Given one's `own` claim, which is there, the files of dead ones are removed.
        """
        owners = []
        for name in self._names():
            fits = _SUFFIX.fullmatch(name[len(self.path.name) :])
            if not name.startswith(self.path.name) or fits is None:
                continue
            token, machine, mode = fits.groups()
            if (own is not None and token == own.token) or (self.shared and mode == "shared"):
                continue
            entry = self.path.with_name(name)
            if (text := self._owner(entry, near=machine == here())) is not None:
                owners.append(Owner(token, text))
            elif own is not None:
                with contextlib.suppress(OSError):
                    entry.unlink()
        return owners

    def _names(self) -> list[str]:
        try:
            return sorted(entry.name for entry in os.scandir(self.path.parent))
        except OSError:
            return []

    def _owner(self, entry: Path, *, near: bool) -> str | None:
        """Who owns a claim; None when nobody does. `near`: on this machine."""
        try:
            handle = os.open(entry, os.O_RDONLY | _FLAGS)
        except OSError:  # gone, of another user, or a link
            return "another process" if self._beats(entry) else None
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                return None
            free = _flock(handle, "LOCK_SH")
            if (free and near) or (free is not False and not self._beats(entry)):
                return None
            text = os.pread(handle, 1000, 0).decode(errors="replace")
        finally:
            os.close(handle)
        named = text.startswith("process ") and text.isprintable()
        return text if named else "another process"

    def _beats(self, entry: Path) -> bool:
        """Whether a claim was renewed lately, by the clock that renews it or while one looked."""
        try:
            facts = entry.lstat()
        except OSError:
            return False
        now = time.monotonic()
        last, since = self._seen.get(entry.name, (0, now))
        if last != facts.st_mtime_ns:
            since = now
        self._seen[entry.name] = (facts.st_mtime_ns, since)
        return now + self.offset - facts.st_mtime <= SILENCE and now - since <= SILENCE


def _flock(handle: int, mode: str) -> bool | None:
    """Try for the system's lock; None where the file system has none."""
    try:
        if fcntl is None:
            raise OSError
        fcntl.flock(handle, getattr(fcntl, mode) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _signature() -> str:
    now = datetime.now().astimezone()
    return f"process {os.getpid()} on {socket.gethostname()} since {now:%Y-%m-%d %H:%M:%S %z}"
