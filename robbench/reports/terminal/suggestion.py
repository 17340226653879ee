"""A suggested cascade in the terminal: its attacks, and how well it does on held-out samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.text import Text

from robbench.analysis.suggest import Judged, Suggestion
from robbench.reports.suggestion import budgets, queries, verdict
from robbench.reports.terminal.fitted import FittedTable, Head, cell
from robbench.reports.texts import percent


@dataclass(frozen=True)
class SuggestionTables:
    """Two tables and what they come to."""

    found: Suggestion
    runs: Sequence[Mapping[str, Any]]

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        chosen, judged = self.found.chosen_on, self.found.judged_on
        yield Text(f"{budgets(self.runs)}; {chosen} samples choose, {judged} judge")
        yield Text()
        yield _entries(self.found)
        yield Text()
        yield _judged(self.found)
        yield Text()
        yield Text(f"On the held-out samples {verdict(self.found)}.")


def _entries(found: Suggestion) -> FittedTable:
    heads = [
        Head("suggested attack", "suggested attack", right=False),
        Head("left", "left"),
        Head("known", "known"),
        Head("breaks", "breaks"),
        Head("F+B per survivor", "F+B"),
    ]
    rows = [
        (one.spec, str(one.of), str(one.seen), str(one.broke), queries((one.forward, one.backward)))
        for one in found.entries
    ]
    return _table(heads, rows)


def _judged(found: Suggestion) -> FittedTable:
    heads = [
        Head("held-out samples", "held-out samples", right=False),
        Head("samples", "samples"),
        Head("robust acc.", "robust acc."),
        Head("suggestion", "sugg."),
        Head("only it breaks", "only it"),
        Head("only suggestion", "only sugg."),
        Head("p", "p"),
        Head("F+B per survivor", "F+B surv."),
        Head("F+B per sample", "F+B sample"),
    ]
    rows = [
        _row(found.it, ("", "", "", "")),
        _row(found.union, (*_against(found.union)[:3], "")),  # it breaks all that any other does
        *(_row(one, _against(one)) for one in found.originals),
    ]
    return _table(heads, rows)


def _row(one: Judged, against: Sequence[str]) -> tuple[str, ...]:
    robust = percent(one.robust_accuracy)
    return (one.name, str(one.n), robust, *against, queries(one.survivor), queries(one.sample))


def _against(one: Judged) -> tuple[str, str, str, str]:
    """What tells it from the suggestion on the same samples."""
    return percent(one.suggestion), str(one.only_it), str(one.only_suggestion), f"{one.p:.2g}"


def _table(heads: Sequence[Head], rows: Sequence[Sequence[str]]) -> FittedTable:
    cells = [[cell(text) for text in row] for row in rows]
    return FittedTable("", heads, cells, [""] * len(rows), gap=2)
