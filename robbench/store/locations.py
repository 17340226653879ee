"""The places of tables: local paths, and addresses such as s3://bucket/runs that fsspec opens.

Both are read alike.
"""

from __future__ import annotations

import contextlib
import fnmatch
import glob
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeAlias, TypeVar

from robbench.core.errors import RunError, UserError
from robbench.core.escaping import without_password

MOST_FOLDERS = 10_000
"""Folders that a pattern may look into: all of a large store, not all of a disk."""

_WEB = re.compile(r"(\w+::)*https?://", re.IGNORECASE)


class Remote:
    """A file or folder on a file system of fsspec.

    What `pathlib.Path` can do of what reading tables needs.
    """

    def __init__(self, system: Any, path: str) -> None:
        self._system, self._path = system, PurePosixPath(path)

    def __str__(self) -> str:
        return without_password(str(self._system.unstrip_protocol(str(self._path))))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Remote) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple[Any, PurePosixPath]:
        return self._system, self._path

    def __truediv__(self, name: str) -> Remote:
        return Remote(self._system, str(self._path / name))

    @property
    def system(self) -> Any:
        """The file system of fsspec."""
        return self._system

    @property
    def inside(self) -> str:
        """The path on that file system."""
        return str(self._path)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self._path.name

    @property
    def stem(self) -> str:
        """The last part of the path without its suffix."""
        return self._path.stem

    @property
    def parent(self) -> Remote:
        """The parent folder."""
        return Remote(self._system, str(self._path.parent))

    def absolute(self) -> Remote:
        """Itself: addresses are absolute."""
        return self

    def exists(self) -> bool:
        """Whether there is such a file or folder.

        Raises RunError when the file system does not answer.
        """
        with self._answering():
            return bool(self._system.exists(str(self._path)))

    def is_file(self) -> bool:
        """Whether it is a file. Raises as `exists`."""
        with self._answering():
            return bool(self._system.isfile(str(self._path)))

    def is_dir(self) -> bool:
        """Whether it is a folder. Raises as `exists`."""
        with self._answering():
            return bool(self._system.isdir(str(self._path)))

    def glob(self, pattern: str) -> list[Remote]:
        """The entries that match the pattern, sorted. Raises as `exists`."""
        with self._answering():
            return [
                Remote(self._system, path)
                for path in sorted(self._system.glob(str(self._path / pattern)))
            ]

    def open(self) -> IO[bytes]:
        """The file for reading. Raises OSError as `open` does."""
        handle: IO[bytes] = self._system.open(str(self._path), "rb")
        return handle

    @contextlib.contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # each file system has exceptions of its own
            reason = " ".join(str(error).split()) or type(error).__name__
            raise RunError(
                f"cannot read {self}: {reason}; check the address, the network and the credentials"
            ) from None


Location: TypeAlias = Path | Remote
P = TypeVar("P", Path, Remote, Location)


def sibling_table(run: P, kind: str) -> P:
    """The path of another table of the same run: results/<kind>/<run id>.parquet."""
    return run.absolute().parent.parent / kind / run.name


def is_address(text: str) -> bool:
    """Whether a text is an address of fsspec, such as s3://bucket/runs or memory://runs."""
    return "://" in text


def locate(text: str, **options: bool) -> Location:
    """The path or address a text names; the file system of an address gets the options.

    Raises UserError for a protocol that fsspec does not know or has no package for, and for http,
    where folders cannot be listed.
    """
    if not is_address(text):
        return Path(text)
    if _WEB.match(text):
        raise UserError(
            f"cannot read {text}: a web address has no folders that can be listed; download the "
            "output folder and name the copy, or use an address such as s3://bucket/folder"
        )
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(text, **options)
    except ImportError as error:
        raise UserError(
            f"cannot read {text}: {str(error).rstrip('.')}, then run this again"
        ) from None
    except ValueError as error:
        raise UserError(
            f"cannot read {text}: {error}; write it as s3://bucket/folder or as a local path"
        ) from None
    return Remote(system, path)


def is_there(path: Path) -> bool:
    """Whether there is such a file or folder.

    What may not be looked at, or cannot have that name, is not.
    """
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def trained_name(model: str) -> str:
    """The name of the trained model that a run's model is of: `at` of its checkpoint `at@last`."""
    return model.partition("@")[0] or model


def model_folder(run: Path, model: str) -> Path | None:
    """The folder of a trained model in the output folder of a runs file, None if missing."""
    folder = run.absolute().parent.parent.parent / "models" / trained_name(model)
    return folder if is_there(folder / "config.json") else None


def matches(pattern: str) -> list[Location]:
    """What a pattern with * ? or [] names, sorted; `**` reaches into folders, through no links.

    Raises as `locate` and `Remote.exists` do, and UserError for a pattern that reaches into more
    than MOST_FOLDERS folders.
    """
    if not is_address(pattern):
        first, *parts = Path(pattern).parts
        walk = _walk(Path(first), parts) if Path(first).anchor else _walk(Path(), [first, *parts])
        return [*sorted(walk)]
    head = pattern[: min(pattern.find(sign) for sign in "*?[" if sign in pattern)].rpartition("/")[
        0
    ]
    folder = locate(head if "://" in head else f"{head}//")
    return [found for found in folder.glob(pattern[len(head) + 1 :]) if isinstance(found, Remote)]


def _walk(start: Path, parts: Sequence[str]) -> Iterator[Path]:
    """The entries of `start` that match the parts of a pattern."""
    seen = [0]

    def inside(folder: Path, hidden: bool = False) -> list[os.DirEntry[str]]:
        seen[0] += 1
        if seen[0] > MOST_FOLDERS:
            raise UserError(
                f"the pattern {'/'.join(parts)} reaches into more than {MOST_FOLDERS} folders; "
                "begin it with a folder"
            )
        try:
            with os.scandir(folder) as found:
                return sorted(
                    (entry for entry in found if hidden or entry.name[0] != "."),
                    key=lambda entry: entry.name,
                )
        except OSError:
            return []

    def below(folder: Path, rest: Sequence[str]) -> Iterator[Path]:
        if not rest:
            yield folder
        elif rest[0] == "**":
            yield from below(folder, rest[1:])
            for entry in inside(folder):
                if entry.is_dir(follow_symlinks=False):
                    yield from below(folder / entry.name, rest)
                elif len(rest) == 1:
                    yield folder / entry.name
        elif glob.has_magic(rest[0]):
            for entry in inside(folder, hidden=rest[0].startswith(".")):
                if fnmatch.fnmatchcase(entry.name, rest[0]) and (len(rest) == 1 or entry.is_dir()):
                    yield from below(folder / entry.name, rest[1:])
        elif is_there(folder / rest[0]):
            yield from below(folder / rest[0], rest[1:])

    return iter(dict.fromkeys(below(start, parts)))
