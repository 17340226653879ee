"""Copies of the private code that a result rests on, kept with it for whoever checks it later."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from functools import partial
from itertools import count
from pathlib import Path

from robbench.core.code import private_files
from robbench.core.files import atomic_write


def keep_code(folder: Path, modules: Iterable[str]) -> None:
    """Copy the private code of some modules and of what they import into a folder, if there is any.

    A file is called as its module is imported, such as `my_losses.margin.py`; one that was loaded
    by path as it is there, with a number where another is called so. What another run has left
    there is deleted.
    """
    shutil.rmtree(folder, ignore_errors=True)
    taken: set[str] = set()
    for name, file in sorted(private_files(modules).items()):
        stem = file.stem if Path(name).is_absolute() else name
        called = next(
            each for n in count(1) if (each := stem if n == 1 else f"{stem}-{n}") not in taken
        )
        taken.add(called)
        content, target = file.read_bytes(), folder / f"{called}{file.suffix}"
        atomic_write(target, partial(Path.write_bytes, data=content))
