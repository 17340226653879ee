"""How a pivot is written: its columns, and what a reader has to know, for every renderer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from robbench.analysis.pivot import Pivot
from robbench.core.threat_text import split_threat
from robbench.reports import audit, footnotes, texts
from robbench.reports.columns import Column, Row

Cell = dict[str, Any] | None


def columns_of(found: Pivot, *, intervals: bool = True) -> list[Column]:
    """Model, clean accuracy, and robust accuracy under each threat model.

    Over training seeds with the standard deviation in points. `*` marks the best of a column.
    """
    shown = [
        Column("model", "model", lambda row: str(row["model"]), ("model",), False, _never),
        Column("clean", "clean", _clean, ("clean_accuracy",), bold=_never),
    ]
    for threat in found.threats:
        norm, _, eps = threat.partition(":")
        text, bold = _writer(threat, intervals), _best(threat)
        shown.append(Column(threat, f"{norm}\n{eps}", text, (threat,), bold=bold))
    return shown


def notes_of(found: Pivot) -> list[str]:
    """What a reader of the table has to know."""
    cells = [cell for row in found.rows for cell in row["cells"].values() if cell]
    rows = f"{_data(found)}. Robust accuracy under each threat model, with "
    if any(cell["n_seeds"] for cell in cells):
        rows += "sd over training seeds in points and Student's t interval, 95 %."
    else:
        rows += "its Wilson interval, 95 %."
    said = [rows]
    if any(split_threat(threat).target for threat in found.threats):
        said.append(footnotes.TARGET)
    if any(cell["best"] for cell in cells):
        said.append(footnotes.BEST.replace("its table", "its column"))
    said += audit.without(cells)
    if found.left_out:
        said.append(f"Left out, without a budget: {', '.join(found.left_out)}.")
    return said


def warnings_of(found: Pivot) -> Iterator[str]:
    """What speaks against single cells."""
    for row in found.rows:
        for threat, cell in row["cells"].items():
            if cell:
                for text in texts.warnings(cell):
                    yield f"{row['model']}, {threat}: {text}"


def _data(found: Pivot) -> str:
    sets = dict.fromkeys(f"{row['data']} {row['split']}" for row in found.rows)
    cells = [cell for row in found.rows for cell in row["cells"].values() if cell]
    sizes = sorted({cell["n_samples"] for cell in cells})
    size = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]}-{sizes[-1]}"
    attacks = dict.fromkeys(cell["attack"] for cell in cells)
    return f"{', '.join(sets)}, {'; '.join(attacks)}, {size} samples"


def _writer(threat: str, intervals: bool) -> Callable[[Row], str]:
    return lambda row: _rate(row["cells"][threat], intervals)


def _best(threat: str) -> Callable[[Row], bool]:
    return lambda row: bool(row["cells"][threat] and row["cells"][threat]["best"])


def _clean(row: Row) -> str:
    return texts.percent(row["clean_accuracy"])


def _never(row: Row) -> bool:
    return False


def _rate(cell: Cell, intervals: bool) -> str:
    if cell is None:
        return texts.NOTHING
    said = texts.percent(cell["robust_accuracy"]) + ("*" if cell["best"] else "")
    if cell["n_seeds"] and cell["robust_accuracy_sd"] is not None:
        said += f" sd {texts.points(cell['robust_accuracy_sd'])}"
    low = cell["robust_accuracy_low"]
    known = intervals and low is not None and not math.isnan(low)
    return f"{said} {texts.interval(cell)}" if known else said
