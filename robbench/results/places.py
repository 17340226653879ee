"""Where tables lie: local paths, and addresses such as s3://bucket/runs that fsspec opens; both are read alike."""

from __future__ import annotations

import contextlib
import glob
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeAlias, TypeVar

from robbench.core.errors import RunError, UserError


class Remote:
    """A file or folder on a file system of fsspec; what `pathlib.Path` can do of what reading tables needs."""

    def __init__(self, system: Any, path: str) -> None:
        self._system, self._path = system, PurePosixPath(path)

    def __str__(self) -> str:
        return str(self._system.unstrip_protocol(str(self._path)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Remote) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

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
        """The folder it lies in."""
        return Remote(self._system, str(self._path.parent))

    def absolute(self) -> Remote:
        """Itself: addresses are absolute."""
        return self

    def exists(self) -> bool:
        """Whether there is such a file or folder. Raises RunError when the file system does not answer."""
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
        """What lies inside and fits the pattern, sorted. Raises as `exists`."""
        with self._answering():
            return [Remote(self._system, path) for path in sorted(self._system.glob(str(self._path / pattern)))]

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
            raise RunError(f"cannot read {self}: {reason}; check the address, the network and the credentials") from None


Place: TypeAlias = Path | Remote
P = TypeVar("P", Path, Remote, Place)


def beside(run: P, kind: str) -> P:
    """Where another table of the same run lies, given one of its files: results/<kind>/<run id>.parquet."""
    return run.absolute().parent.parent / kind / run.name


def is_address(text: str) -> bool:
    """Whether a text is an address of fsspec, such as s3://bucket/runs or memory://runs."""
    return "://" in text


def place(text: str) -> Place:
    """The path or address a text names. Raises UserError for a protocol that fsspec does not know or has no package for."""
    if not is_address(text):
        return Path(text)
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(text)
    except ImportError as error:
        raise UserError(f"cannot read {text}: {str(error).rstrip('.')}, then run this again") from None
    except ValueError as error:
        raise UserError(f"cannot read {text}: {error}; write it as s3://bucket/folder or as a local path") from None
    return Remote(system, path)


def matches(pattern: str) -> list[Place]:
    """What a pattern with * ? or [] names, sorted; `**` reaches into folders. Raises as `place` and `Remote.exists` do."""
    if not is_address(pattern):
        return [Path(path) for path in sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207 - Path.glob takes no absolute pattern
    head = pattern[: min(pattern.find(sign) for sign in "*?[" if sign in pattern)].rpartition("/")[0]
    folder = place(head if "://" in head else f"{head}//")
    return [found for found in folder.glob(pattern[len(head) + 1 :]) if isinstance(found, Remote)]
