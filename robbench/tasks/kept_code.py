"""Copies of the private code that a result rests on, kept with it for whoever checks it later."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from robbench.core.code import private_files
from robbench.core.files import atomic_write


def keep_code(folder: Path, modules: Iterable[str]) -> None:
    """Copy the private code of some modules and of what they import into a folder, if there is any.

    A file is called as its module is imported, such as `my_losses.margin.py`. What another run has
    left there is deleted.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for name, file in private_files(modules).items():
        content = file.read_bytes()
        target = folder / f"{Path(name).stem if Path(name).is_absolute() else name}{file.suffix}"
        atomic_write(target, lambda path, content=content: path.write_bytes(content))  # type: ignore[misc]
