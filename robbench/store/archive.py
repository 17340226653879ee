"""Zip files that are written in one way only: members as they are, in order, without times.

Equal members make equal bytes, so a reader finds every byte that is not as it was written. Members
are not compressed, so that no file grows when it is read.
"""

from __future__ import annotations

import errno
import io
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from robbench.core.documents import require_regular
from robbench.core.errors import UserError

MOST_MEMBERS = 10_000
BROKEN = (
    zipfile.BadZipFile,
    EOFError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
)
"""What reading a zip file that was changed may raise."""
_NOT_THE_FILE = (errno.ENOSPC, errno.EDQUOT)
"""What writing its members may raise, which says nothing of the zip file."""
_MODE = 0o100644 << 16
_CHUNK = 1 << 20


def write_archive(path: Path, members: Mapping[str, Path | bytes]) -> None:
    """Write members, files or contents by their names, in this order."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, _MODE
            # Known ahead, so zip64 only where needed: releases of Python write it differently.
            entry.file_size = len(content) if isinstance(content, bytes) else content.stat().st_size
            with (
                io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as source,
                archive.open(entry, "w") as sink,
            ):
                shutil.copyfileobj(source, sink, _CHUNK)


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """A zip file that can only be ours: no links, nothing twice, compressed or encrypted.

    Raises UserError for any other, and for a truncated one.
    """
    require_regular(path)
    try:
        archive = zipfile.ZipFile(path)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except BROKEN as error:
        raise UserError(
            f"{path} is no zip file, or a truncated one ({error}): copy it again"
        ) from None
    with archive:
        _require_plain(path, archive.infolist())
        yield archive


def extract(
    archive: zipfile.ZipFile, folder: Path, order: Callable[[list[str]], list[str]]
) -> Iterator[tuple[str, str]]:
    """Write all members below a folder; what of the file is not as it was written, and why.

    Names of members must be relative paths that the caller has looked at. order: of the members.
    Raises UserError for a name that no file can have here, and OSError where the disk is full.
    """
    names = archive.namelist()
    broken = False
    for name in names:
        target = folder / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
        except OSError as error:
            raise UserError(
                f"{archive.filename}: {repr(name)[:100]} cannot be unpacked here ({error.strerror})"
            ) from None
        try:
            with archive.open(name) as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink, _CHUNK)
        except BROKEN as error:
            if isinstance(error, OSError) and error.errno in _NOT_THE_FILE:
                raise
            broken = True
            yield name, f"cannot be read ({error})"
    if not broken:
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            again = Path(scratch) / "again"
            write_archive(again, {name: folder / name for name in order(names)})
            with Path(str(archive.filename)).open("rb") as ours, again.open("rb") as theirs:
                if (place := _difference(ours, theirs)) is not None:
                    yield f"byte {place}", "between its members the file is not as it was written"


def _require_plain(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    if len(entries) > MOST_MEMBERS:
        raise UserError(f"{path} has {len(entries):,} members, more than {MOST_MEMBERS:,}")
    seen = set[str]()
    for entry in entries:
        name = repr(entry.filename)[:100]
        if entry.filename in seen:
            raise UserError(f"{path} holds {name} twice: it is no bundle of robbench")
        seen.add(entry.filename)
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise UserError(f"{path}: {name} is a link: it is no bundle of robbench")
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            raise UserError(
                f"{path}: {name} is compressed or encrypted: it is no bundle of robbench, or was "
                "packed again"
            )
    size = path.stat().st_size
    if any(entry.file_size != entry.compress_size for entry in entries) or (
        sum(entry.file_size for entry in entries) > size
    ):
        raise UserError(f"{path} claims members larger than its {size:,} bytes; do not use it")


def _difference(one: IO[bytes], other: IO[bytes]) -> int | None:
    """Where two files differ first, None where they are equal."""
    start = 0
    while True:
        a, b = one.read(_CHUNK), other.read(_CHUNK)
        if a != b:
            pairs = zip(a, b, strict=False)
            return start + next(
                (i for i, (x, y) in enumerate(pairs) if x != y), min(len(a), len(b))
            )
        if not a:
            return None
        start += len(a)
