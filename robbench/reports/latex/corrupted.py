"""Models under corruptions as LaTeX tables: in all, and by corruption."""

from __future__ import annotations

from collections.abc import Sequence

from robbench.core.escaping import one_line
from robbench.reports.columns import Column, Row
from robbench.reports.corrupted import NOTE, by_corruption, groups, summary_columns, title, warnings
from robbench.reports.latex.cells import plain, tex
from robbench.reports.latex.table import booktabs, line


def corrupted_to_latex(found: Sequence[Row], rows: Sequence[Row]) -> str:
    """Two tables for models on the same samples.

    found: as of `under_corruptions`; rows: of `compare`, for what their runs warn of.
    """
    parts = []
    for n, group in enumerate(groups(found)):
        where, number = tex(title(group[0])), n or ""
        said = [one_line(text) for text in warnings(group, rows)]
        caption = [f"Accuracy under corruptions: {where}.", tex(NOTE)]
        each = [f"Accuracy by corruption: {where}."]
        parts += [
            _table(caption, group, summary_columns(group), said, f"corruptions{number}"),
            _table(each, *by_corruption(group), [], f"each-corruption{number}"),
        ]
    return "\n".join(parts)


def _table(
    caption: Sequence[str],
    rows: Sequence[Row],
    columns: Sequence[Column],
    said: Sequence[str],
    label: str,
) -> str:
    shown = [plain(column) for column in columns]
    body = [line([column.cell(row) for column in shown]) for row in rows]
    head = [line([column.head for column in shown])]
    return booktabs(caption, shown, head, [body], said, label)
