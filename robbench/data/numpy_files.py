"""Files of NumPy: opened without ever unpickling what is in them."""

from __future__ import annotations

import contextlib
import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robbench.core.errors import UserError
from robbench.data.base import reason


def read_npy(path: Path, *, mapped: bool) -> NDArray[Any]:
    """The array of an .npy file, left on the disk if `mapped`. UserError for anything else."""
    if zipfile.is_zipfile(_readable(path)):
        raise UserError(f"{path} holds several arrays; read it as npz:{path.name}")
    try:
        found: NDArray[Any] = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except Exception as error:
        raise _unreadable(path, error, "it") from error
    return found


class Archive(Mapping[str, NDArray[Any]]):
    """The arrays of an .npz file, read when they are asked for."""

    def __init__(self, path: Path, archive: Any) -> None:
        self.path = path
        self.archive = archive

    def __getitem__(self, key: str) -> NDArray[Any]:
        try:
            found: NDArray[Any] = self.archive[key]
        except KeyError:
            raise
        except Exception as error:
            raise _unreadable(self.path, error, f"array '{key}'") from error
        if not isinstance(found, np.ndarray):
            raise UserError(f"{self.path}: '{key}' is no array")
        return found

    def __contains__(self, key: object) -> bool:
        return key in self.archive.files

    def __iter__(self) -> Iterator[str]:
        return iter(self.archive.files)

    def __len__(self) -> int:
        return len(self.archive.files)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """The arrays of an .npz file. UserError for anything else, and when one cannot be read."""
    with _readable(path).open("rb") as file:  # NumPy leaves open what it cannot read
        try:
            found = np.load(file, allow_pickle=False)
        except Exception as error:
            raise _unreadable(path, error, "it") from error
        if isinstance(found, np.ndarray):
            raise UserError(f"{path} holds a single array; read it as npy:{path.name},labels=FILE")
        yield Archive(path, found)


def _readable(path: Path) -> Path:
    if not os.access(path, os.R_OK):
        raise UserError(f"{path} may not be read")
    return path


def _unreadable(path: Path, error: Exception, what: str) -> UserError:
    if "pickle" in str(error):
        return UserError(
            f"{path}: {what} holds Python objects or is no file of arrays, and is not unpickled: "
            "save plain arrays of numbers with numpy.savez or numpy.save"
        )
    broken = isinstance(error, zipfile.BadZipFile | EOFError | OSError)
    return UserError(
        f"{path} cannot be read ({reason(error)})" + ("; is it complete?" if broken else "")
    )
