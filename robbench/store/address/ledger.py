"""What a working copy and its address have in common: which versions of a file are the same."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import NamedTuple


class Stamp(NamedTuple):
    """A local file's size and time of change, which tell whether it was replaced."""

    size: int
    changed: int  # nanoseconds


def stamp_of(path: Path) -> Stamp | None:
    """The stamp of a file; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return Stamp(found.st_size, found.st_mtime_ns)


class Ledger:
    """Per file the local stamp and the version at the address when they last had one content.

    Lines are appended to a file, of one name the last counts; a torn one counts as absent. Losing
    it costs reading files again, no data.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._read = path, 0
        self._known: dict[str, tuple[Stamp, str]] = {}

    def __getitem__(self, name: str) -> tuple[Stamp | None, str | None]:
        return self._known.get(name, (None, None))

    def names(self) -> list[str]:
        """All files that it knows."""
        return list(self._known)

    def reload(self) -> None:
        """Read what other processes have added."""
        with contextlib.suppress(FileNotFoundError), self._path.open("rb") as file:
            file.seek(self._read)
            for line in file:
                self._read += len(line)
                with contextlib.suppress(ValueError, TypeError):
                    name, size, changed, version = json.loads(line)
                    self._known.pop(name, None)
                    if version is not None:
                        self._known[name] = Stamp(size, changed), version

    def note(self, name: str, stamp: Stamp, version: str) -> None:
        """The local file with this stamp has the content of this version."""
        self._append([name, *stamp, version])

    def forget(self, name: str) -> None:
        """Both are gone."""
        self._append([name, 0, 0, None])

    def _append(self, entry: list[str | int | None]) -> None:
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            os.write(handle, f"\n{json.dumps(entry)}\n".encode())
        finally:
            os.close(handle)
        self.reload()
