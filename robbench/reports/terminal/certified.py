"""Both bounds, of robust accuracy or of distances, of models that were certified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from robbench.reports import texts
from robbench.reports.terminal.fitted import FittedTable, Head

_FIRST = [
    Head("model", "model", right=False),
    Head("samples", "samples"),
    Head("clean acc.", "clean\nacc."),
]
_SECONDS = Head("s/sample", "s/\nsample")
HEADS = [
    *_FIRST,
    Head("certified (95 %)", "certified\n(95 %)"),
    Head("broken", "broken"),
    Head("unknown", "unknown"),
    Head("robust acc. (95 %)", "robust acc.\n(95 %)"),
    _SECONDS,
]
RADII = [
    *_FIRST,
    Head("certified radius (median)", "certified radius\n(median)"),
    Head("smallest found (median)", "smallest found\n(median)"),
    _SECONDS,
]
"""Without a budget."""


def certified_table(found: Sequence[Mapping[str, Any]]) -> RenderableType:
    """A table per data, threat model and method; of rows as `robbench certify --json` has them."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in found:
        title = f"{row['data']} {row['split']}, {row['threat']}, {row['method']}"
        title += ": the smoothed classifier, not the model" if row["smoothed"] else ""
        groups.setdefault(title, []).append(row)
    parts: list[RenderableType] = []
    for title, rows in groups.items():
        cells = [[Text(cell) for cell in _cells(row)] for row in rows]
        heads = RADII if "certified_radius_p50" in rows[0] else HEADS
        parts += [FittedTable(title, heads, cells, [""] * len(rows), gap=2), Text()]
    return Group(*parts)


def _cells(row: Mapping[str, Any]) -> list[str]:
    first = [str(row["model"]), str(row["n_samples"]), texts.percent(row["clean_accuracy"])]
    seconds = texts.digits(row["seconds"] / row["n_samples"], 2)
    if "certified_radius_p50" in row:
        medians = (row["certified_radius_p50"], row["distance_p50"])
        return [*first, *(texts.digits(size) for size in medians), seconds]
    low = f">= {texts.percent(row['certified_accuracy'])}"
    high = f"<= {texts.percent(row['robust_accuracy'])}"
    return [
        *first,
        f"{low} ({texts.points(row['certified_accuracy_low'])})",
        str(row["n_broken"]),
        str(row["n_unknown"]),
        f"{high} ({texts.points(row['robust_accuracy_high'])})",
        seconds,
    ]
