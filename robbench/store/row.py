"""The row of a run, read from its runs file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from robbench.core.errors import UserError
from robbench.store.locations import Location
from robbench.store.tables import read_table

RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
T = TypeVar("T")


def run_row(path: Location, columns: Sequence[str] | None = None) -> dict[str, Any]:
    """The one row of a runs file.

    Raises UserError, naming the file, as `read_table` does, or for another number of rows.
    """
    return only_row(path, read_table(path, "runs", columns).to_pylist())


def only_row(path: Location, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The only row of a runs file.

    Raises UserError for another number of rows, and for a run id that is no file's name.
    """
    if len(rows) != 1:
        raise UserError(
            f"{path} holds {len(rows)} runs, not one: a runs file of robbench is of one run"
        )
    row = dict(rows[0])
    if not RUN_ID.fullmatch(str(row.get("run_id", "none"))):  # files are named after it
        raise UserError(
            f"{path} has the run id {row['run_id']!r}; robbench writes letters and digits: the "
            "file was changed, do not use it"
        )
    return row


def in_threads(work: Callable[[Location], T], paths: Sequence[Location]) -> Iterator[T]:
    """The results for each path in order, read in threads: small files are mostly waiting."""
    with ThreadPoolExecutor() as pool:
        yield from pool.map(work, paths)
