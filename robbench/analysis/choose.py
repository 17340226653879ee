"""The runs that names and conditions select, found by their rows before any samples are read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from robbench.core.errors import UserError, nearest
from robbench.store.index import require_rows
from robbench.store.locations import Location
from robbench.store.schema import RUNS
from robbench.store.store import Store

_MOST = 20  # values that a message lists


def choose(store: Store, names: Sequence[str], where: Sequence[str] = ()) -> list[Location]:
    """The files of the runs that `names` mean and of which each COLUMN=VALUE of `where` holds.

    `tag` is a column too. Raises UserError as `Store.find` does, for a condition that is malformed
    or that no run meets, and for a name all of whose runs the conditions leave out.
    """
    columns = [_column(condition) for condition in where]
    paths = store.find(names)
    if not where:
        return paths
    found = require_rows(paths, ["tags" if name == "tag" else name for name in columns])
    rows = dict(zip(paths, found, strict=True))
    for condition, name in zip(where, columns, strict=True):
        value = condition.partition("=")[2]
        said = {path: _values(row, name) for path, row in rows.items()}
        rows = {path: rows[path] for path, values in said.items() if value in values}
        if not rows:
            raise UserError(f"no run has {condition}; there is {name}={_listed(said.values())}")
    for name in names if len(names) > 1 else ():
        if rows.keys().isdisjoint(store.find([name])):
            raise UserError(
                f"no run of '{name}' has {' and '.join(where)}; attack it so, or leave it out"
            )
    return list(rows)


def _column(condition: str) -> str:
    name, equals, _ = condition.partition("=")
    known = [*RUNS.names, "tag"]
    if not equals or name not in known:
        like = "" if name in known else nearest(name, known)
        raise UserError(f"--where '{condition}': write COLUMN=VALUE{like}")
    return name


def _values(row: Mapping[str, Any], name: str) -> list[str]:
    """What a condition on a column may say of a run: of `tag` several."""
    if name == "tag":
        return json.loads(row["tags"] or "[]") or [said(None)]
    return [said(row[name])]


def _listed(values: Iterable[Sequence[str]]) -> str:
    texts = sorted({text for each in values for text in each})
    more = f" and {len(texts) - _MOST} more" if len(texts) > _MOST else ""
    return f"{', '.join(texts[:_MOST])}{more}"


def said(value: Any) -> str:
    """A value as a condition names it."""
    return "none" if value is None else str(value)
