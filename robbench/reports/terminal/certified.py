"""Both bounds of robust accuracy, of models that were certified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from robbench.reports import texts
from robbench.reports.terminal.fitted import FittedTable, Head

HEADS = [
    Head("model", "model", right=False),
    Head("samples", "samples"),
    Head("clean acc.", "clean\nacc."),
    Head("certified (95 %)", "certified\n(95 %)"),
    Head("broken", "broken"),
    Head("unknown", "unknown"),
    Head("robust acc. (95 %)", "robust acc.\n(95 %)"),
    Head("s/sample", "s/\nsample"),
]


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
        parts += [FittedTable(title, HEADS, cells, [""] * len(rows), gap=2), Text()]
    return Group(*parts)


def _cells(row: Mapping[str, Any]) -> list[str]:
    low = f">= {texts.percent(row['certified_accuracy'])}"
    high = f"<= {texts.percent(row['robust_accuracy'])}"
    return [
        str(row["model"]),
        str(row["n_samples"]),
        texts.percent(row["clean_accuracy"]),
        f"{low} ({texts.points(row['certified_accuracy_low'])})",
        str(row["n_broken"]),
        str(row["n_unknown"]),
        f"{high} ({texts.points(row['robust_accuracy_high'])})",
        texts.digits(row["seconds"] / row["n_samples"], 2),
    ]
