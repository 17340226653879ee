"""An output folder at an address: what is put there is whole or absent."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from robbench.core.errors import RobbenchError, RunError, UserError
from robbench.core.escaping import without_password
from robbench.core.files import cannot_write
from robbench.core.leftovers import temporary_in
from robbench.store.locations import Remote, locate

_ATOMIC = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss"}
"""Object stores: a file that is put is there in one step. Elsewhere it is put aside and renamed."""
_VERSIONS = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "created")
_CREDENTIALS = ("credential", "Credential", "token has expired")


class Place:
    """A folder of a file system of fsspec; its files have names relative to it, such as `a/b.c`.

    All methods raise UserError for missing credentials or rights and for a bucket that does not
    exist, RunError where the file system does not answer or this machine's disk is full.
    Raises UserError for a protocol that fsspec does not know or has no package for.
    """

    def __init__(self, address: str) -> None:
        # Others write there too: what was listed a moment ago says nothing.
        found = locate(address.rstrip("/") or address, use_listings_cache=False)
        if not isinstance(found, Remote):
            raise UserError(f"{address} is no address; write it as s3://bucket/folder")
        self.address, self._system, self._root = address.rstrip("/"), found.system, found.inside
        protocol = self._system.protocol
        names = {protocol} if isinstance(protocol, str) else set(protocol)
        self._atomic = bool(names & _ATOMIC)

    def __str__(self) -> str:
        return without_password(self.address)

    def versions(self, folder: str = "") -> dict[str, str]:
        """The files in a folder and below, each with a text that changes when it is replaced."""
        with self._answering("read"):
            try:
                found = self._system.find(self._path(folder), detail=True)
            except FileNotFoundError:
                return {}
        start = len(self._root.rstrip("/")) + 1
        return {path[start:]: _version(info) for path, info in found.items()}

    def version(self, name: str) -> str | None:
        """The text of one file; None where there is no such file."""
        with self._answering("read"):
            try:
                found = self._system.info(self._path(name))
            except FileNotFoundError:
                return None
        return None if found.get("type") == "directory" else _version(found)

    def get(self, names: Sequence[str], targets: Sequence[Path]) -> None:
        """Copy files to local paths, whose folders are made."""
        for target in targets:
            target.parent.mkdir(parents=True, exist_ok=True)
        with self._answering("read"):
            self._system.get([self._path(name) for name in names], [str(path) for path in targets])

    def check_writable(self) -> None:
        """Put a small file and remove it: better before the work than after."""
        name = f"results/locks/{temporary_in(Path()).name}"
        self.write(name, b"robbench")
        self.remove(name)

    def put(self, file: Path, name: str) -> None:
        """Put a local file there, in place of what has the name."""
        target = self._path(name)
        with self._answering("write to"):
            if self._atomic:
                self._system.put_file(str(file), target)
                return
            parent = target.rpartition("/")[0]
            aside = str(temporary_in(Path(parent)))
            self._make_parent(target)
            try:
                self._system.put_file(str(file), aside)
                self._system.mv(aside, target)
            except BaseException:
                with contextlib.suppress(Exception):
                    self._system.rm_file(aside)
                raise

    def write(self, name: str, content: bytes) -> None:
        """Write a small file, in place of what has the name."""
        with self._answering("write to"):
            self._make_parent(self._path(name))
            self._system.pipe_file(self._path(name), content)

    def read(self, name: str) -> bytes | None:
        """The content of a small file; None where there is no such file."""
        with self._answering("read"):
            try:
                content: bytes = self._system.cat_file(self._path(name))
            except FileNotFoundError:
                return None
        return content

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with self._answering("write to"), contextlib.suppress(FileNotFoundError):
            self._system.rm_file(self._path(name))

    def _make_parent(self, path: str) -> None:
        if not self._atomic:  # object stores have no folders, and would make a bucket
            self._system.makedirs(path.rpartition("/")[0], exist_ok=True)

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}".rstrip("/")

    @contextlib.contextmanager
    def _answering(self, verb: str) -> Iterator[None]:
        try:
            yield
        except RobbenchError:
            raise
        except Exception as error:  # each file system has exceptions of its own
            raise self._worded(error, verb) from error

    def _worded(self, error: Exception, verb: str) -> RobbenchError:
        if isinstance(error, OSError) and Path(error.filename or "").is_absolute():  # local
            return cannot_write(Path(error.filename), error)
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        failed = f"cannot {verb} {self}: {reason}"
        if any(word in f"{type(error).__name__} {reason}" for word in _CREDENTIALS):
            return UserError(
                f"{failed}; give credentials as its tools take them, for s3:// AWS_ACCESS_KEY_ID "
                "and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
            )
        if isinstance(error, PermissionError):
            return UserError(
                f"{failed}; use an account that may list, read, write and delete there"
            )
        if isinstance(error, FileNotFoundError):
            return UserError(f"{failed}; check the address, or make the bucket first")
        return RunError(f"{failed}; check the network and the address")


def _version(info: dict[str, Any]) -> str:
    mark = next((info[key] for key in _VERSIONS if info.get(key)), "")
    if isinstance(mark, datetime):
        mark = mark.timestamp()
    return f"{mark} {info.get('size')} {info.get('ino', '')}".strip()
