"""The folder of data sets. Needs no torch."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from robbench.core.errors import UserError


def data_folder(explicit: Path | None = None) -> Path:
    """The folder of the data sets: the given one, else ROBBENCH_DATA_DIR, else the user's cache.

    It need not exist. UserError for the home of a user who does not exist.
    """
    if explicit is not None or os.environ.get("ROBBENCH_DATA_DIR"):
        named = explicit or Path(os.environ["ROBBENCH_DATA_DIR"])
        try:
            return named.expanduser()
        except RuntimeError as error:
            raise UserError(f"data folder {named}: there is no such home folder") from error
    import platformdirs

    return Path(platformdirs.user_cache_dir("robbench")) / "data"


def private_sets(folder: Path) -> list[str]:
    """The names of the folders of Parquet files in a data folder: each is a data set."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir() and visible(entry.name))
        return [name for name in names if holds_parquet(folder / name)]
    return []


def holds_parquet(folder: Path) -> bool:
    """Whether a folder, or one in it, has Parquet files."""
    try:
        if not folder.is_dir():
            return False
        with os.scandir(folder) as entries:
            inner = [
                folder / entry.name for entry in entries if entry.is_dir() and visible(entry.name)
            ]
        return any(parquet_files(path) for path in (folder, *inner))
    except OSError:  # a name that is too long, a folder that cannot be read
        return False


def parquet_files(folder: Path) -> list[Path]:
    """The regular Parquet files in a folder, sorted."""
    with os.scandir(
        folder
    ) as entries:  # FIFOs and the like are never opened: that could wait for ever
        names = sorted(
            e.name
            for e in entries
            if e.name.endswith(".parquet") and visible(e.name) and e.is_file()
        )
    return [folder / name for name in names]


def visible(name: str) -> bool:
    """Whether a file or folder counts: not what is hidden, nor what archives of a Mac add."""
    return not name.startswith(".") and name != "__MACOSX"
