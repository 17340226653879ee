"""A finished run as it is read: its row, its samples and its worst points."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from robbench.core.errors import UserError
from robbench.store.address.copies import bring
from robbench.store.find import pair
from robbench.store.locations import Location, sibling_table
from robbench.store.row import only_row
from robbench.store.schema import SCHEMA_VERSION
from robbench.store.tables import number_of_groups, read_table

_NAMED_WHEN_ABSENT = ("flags", "max_queries", "max_time_s", "precision")
"""Without these columns a run may have been stopped early, or may have had warnings."""


@dataclass(frozen=True)
class Run:
    """A finished run: `info` is its row of the runs table, `samples` its sample rows.

    `samples` may hold only the columns asked for.

    `older` says in what way its files are those of an older robbench, such as `schema version 0`;
    empty when they are not.
    """

    info: dict[str, Any]
    samples: pa.Table
    older: str = ""


def attacked_model(info: Mapping[str, Any]) -> str:
    """The model that was attacked, as it was given: it may have another name in results."""
    return str(info.get("model_source") or info["model"])


def from_memory(info: Mapping[str, Any]) -> bool:
    """Whether the model of a run was given in memory: no name leads a later command to it."""
    private = ":" in (info["model_arch"] or "")  # the module and name of its class
    return private and info["loss"] is None and ":" not in attacked_model(info)


def tags_of(info: Mapping[str, Any]) -> list[str]:
    """The tags of a row of the runs table."""
    return list(json.loads(info["tags"] or "[]"))


def read_run(path: Location | str, columns: Sequence[str] | None = None) -> Run:
    """Read a run from its runs file or from the samples file beside it.

    Of the samples only `columns`, if given.

    Raises UserError, naming the file, when one of the two is missing, damaged, foreign, newer, or
    of another run.
    """
    row, samples = pair(Path(path) if isinstance(path, str) else path)
    table = read_table(row, "runs")
    info = only_row(row, table.to_pylist())
    if not samples.exists():
        raise UserError(
            f"{samples} does not exist: copy it beside its run, or attack {info['model']} again "
            "with --force"
        )
    rows = read_table(samples, "samples", columns)
    if (
        rows.schema.metadata[b"robbench.run"].decode() != info["run_id"]
        or len(rows) != info["n_samples"]
    ):
        wrong = f"{samples} does not hold the {info['n_samples']} samples of run {info['run_id']}"
        raise UserError(
            f"{wrong}: copy the right one, or attack {info['model']} again with --force"
        )
    return Run(info, rows, _older(table.schema.metadata))


def _older(facts: Mapping[bytes, bytes]) -> str:
    if (version := int(facts[b"robbench.schema_version"])) < SCHEMA_VERSION:
        return f"schema version {version}"
    absent = [
        name for name in facts[b"robbench.absent"].decode().split(",") if name in _NAMED_WHEN_ABSENT
    ]
    return f"no {', '.join(absent)}" if absent else ""


def read_points(path: Location | str) -> Iterator[dict[str, Any]]:
    """The worst points of a run, given its runs file, read part by part.

    UserError for none, or where they are damaged.
    """
    row, _ = pair(Path(path) if isinstance(path, str) else path)
    points = sibling_table(row, "points")
    bring(points)
    if not points.exists():
        raise UserError(f"run {row.stem} kept no points to replay: attack with --store-points")
    groups = range(number_of_groups(points))
    return (
        point for group in groups for point in read_table(points, "points", group=group).to_pylist()
    )
