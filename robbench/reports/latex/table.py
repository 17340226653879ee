"""A comparison as a LaTeX table for a paper: booktabs, what all rows share once in the caption.

The best is bold in place of the `*` of other forms, and a dagger replaces their `!`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from robbench.analysis.audit_remarks import how_audited
from robbench.analysis.pivot import Pivot
from robbench.analysis.seeds import seeds
from robbench.core.corruptions import is_corruption
from robbench.core.escaping import one_line
from robbench.core.limits import Limits
from robbench.core.threat_text import split_threat
from robbench.reports import audit, columns, footnotes, texts
from robbench.reports.columns import Row
from robbench.reports.latex.cells import (
    DAGGER,
    LatexColumn,
    column_of,
    norm,
    rate,
    size,
    tex,
    threat,
)

_IN_CAPTION = ("data", "split", "threat", "attack", "n_samples", "max_time_s", "max_queries")


def to_latex(rows: Sequence[Row], names: Sequence[str] | None = None) -> str:
    """A `table` with a caption, of the rows of `compare` with these columns or the usual ones.

    Data, threat model, attack, limits and number of samples are columns only where rows differ in
    them; rules part blocks of rows that are compared with each other.
    """
    if names is None:
        names = columns.extended(rows, columns.varying(rows, columns.WITH_FACTS))
    rows = _without_seeds(columns.apart(rows, names))
    shared = {name for name in _IN_CAPTION if len({row[name] for row in rows}) == 1}
    if "split" not in shared:
        shared.discard("data")
    targeted = all(row["target"] is not None for row in rows)
    shown = [column_of(name, targeted=targeted) for name in names if name not in shared]
    parts: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        part = parts.setdefault((row["data"], row["split"], row["threat"]), [])
        part.append(line([column.cell(row) for column in shown]))
    where = " of its block" if len(parts) > 1 else ""
    caption = [f"Robustness {' '.join(_facts(rows, shared))}.", *_notes(rows, names, where)]
    head = [line([column.head for column in shown])]
    return booktabs(caption, shown, head, list(parts.values()), _warnings(rows))


def pivot_to_latex(found: Pivot) -> str:
    """A `table` with a column for each budget, below a head for each norm."""
    cells = _without_seeds([cell for row in found.rows for cell in row["cells"].values() if cell])
    rows = _without_seeds(found.rows)
    shown = [LatexColumn("Model", lambda row: tex(str(row["model"])), text=True)]
    shown.append(LatexColumn(r"Clean (\%)", lambda row: rate(_first(row), "clean_accuracy", False)))
    shown += [LatexColumn(size(name), _cell_of(name)) for name in found.threats]
    if len({(row["data"], row["split"]) for row in rows}) > 1:
        shown.insert(1, column_of("data"))
    heads, rules = [""] * (len(shown) - len(found.threats)), list[str]()
    start = len(heads) + 1
    for name, group in groupby(found.threats, key=lambda text: split_threat(text).norm):
        n = len(list(group))
        heads.append(rf"\multicolumn{{{n}}}{{c}}{{Robust (\%), {norm(name)}}}")
        rules.append(rf"\cmidrule(lr){{{start}-{start + n - 1}}}")
        start += n
    shared = {name for name in _IN_CAPTION if len({cell[name] for cell in cells}) == 1}
    attacks = "; ".join(dict.fromkeys(cell["attack"] for cell in cells))
    caption = [
        f"Robust accuracy {' '.join(_facts(cells, shared - {'threat'}))}.",
        *([] if "attack" in shared else [rf"Attacks: \texttt{{{tex(attacks)}}}."]),
        *_notes(cells, ("robust_accuracy",), " of its column"),
    ]
    head = [line(heads), " ".join(rules), line([column.head for column in shown])]
    body = [line([column.cell(row) for column in shown]) for row in rows]
    warnings = _warnings(cells)
    if found.left_out:
        warnings.append(f"left out, without a budget: {one_line(', '.join(found.left_out))}")
    return booktabs(caption, shown, head, [body], warnings)


def booktabs(
    caption: Sequence[str],
    shown: Sequence[LatexColumn],
    head: Sequence[str],
    groups: Sequence[Sequence[str]],
    warnings: Sequence[str],
    label: str = "robustness",
) -> str:
    """A `table` of lines in groups; caption: its sentences; warnings: for comments."""
    kinds = "".join("l" if column.text else "r" for column in shown)
    lines = [
        "% needs in the preamble:",
        r"% \usepackage{booktabs}",
        *(f"% warning: {text}" for text in warnings),
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{' '.join(caption)}}}",
        rf"\label{{tab:{label}}}",
        rf"\begin{{tabular}}{{{kinds}}}",
        r"\toprule",
        *head,
        *(line for group in groups for line in (r"\midrule", *group)),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join([*lines, ""])


def line(cells: Sequence[str]) -> str:
    """A row of a table."""
    # What begins so would be an argument of the `\\` before it.
    first = f"{{}}{cells[0]}" if cells[0].startswith(("[", "*")) else cells[0]
    return " & ".join([first, *cells[1:]]) + r" \\"


def _without_seeds(rows: Sequence[Row]) -> list[Row]:
    """Names without the number of seeds where that is the caption's: the same for all rows."""
    counts = {row["n_seeds"] for row in rows}
    n = next(iter(counts)) if len(counts) == 1 else None
    return [
        {**row, "model": str(row["model"]).removesuffix(seeds(n))} if n else row for row in rows
    ]


def _cell_of(name: str) -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        found = row["cells"][name]
        return rate(found, "robust_accuracy", bool(found and found["best"]))

    return cell


def _first(row: Row) -> Row | None:
    return next((cell for cell in row["cells"].values() if cell), None)


def _facts(rows: Sequence[Row], shared: set[str]) -> Iterator[str]:
    """What all rows share, as one phrase."""
    first = rows[0]
    if "data" in shared:
        yield f"on {tex(first['data'])} {tex(first['split'])}"
    sizes = sorted({row["n_samples"] for row in rows})
    yield f"({sizes[0]}{f' to {sizes[-1]}' if len(sizes) > 1 else ''} samples)"
    if "threat" in shared:
        yield f"under {threat(first['threat'])}"
    if "attack" in shared:
        yield rf"by \texttt{{{tex(first['attack'])}}}"
    if "max_time_s" in shared and "max_queries" in shared:
        limits = Limits(first["max_time_s"], first["max_queries"])
        if limits:
            yield f"within {tex(str(limits))}"


def _notes(rows: Sequence[Row], names: Sequence[str], part: str) -> Iterator[str]:
    """What the numbers are, a sentence each; `part` is where rows are compared with each other."""
    counts = sorted({row["n_seeds"] for row in rows if row["n_seeds"]})
    if counts and counts[-1] > 1:
        n = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        yield rf"Mean $\pm$ standard deviation over {n} training seeds."
    elif not counts and "robust_accuracy" in names:
        yield r"Brackets: Wilson interval, 95\,\%."
    if any(row["target"] is not None for row in rows):
        yield _sentence(footnotes.TARGET)
    if "adversarial_ratio" in names and any(is_corruption(row["threat"]) for row in rows):
        yield _sentence(footnotes.CORRUPTION)
    if "robust_accuracy_audited" in names:
        yield _audits(rows)
    if "certified_accuracy" in names:
        yield "Certified: share of the samples for which no perturbation can succeed, by proof."
    if "robust_accuracy_last" in names:
        yield "Last: robust accuracy of the last checkpoint, beside that of the best."
    test = "paired $t$ test over the seeds" if counts else "exact McNemar test"
    if "difference" in names:
        yield f"Difference: in points, to the first row{part}, with the $p$ of the {test} (Holm)."
    if any(row["best"] for row in rows):
        yield (
            rf"Bold: the best{part}, where the {test} (Holm) tells it from every other, "
            r"$p \leq 0.05$."
        )
    if differs := sorted({kind for row in rows for kind in row["differs"]}):
        yield f"{DAGGER}Differs from the other rows in {', '.join(differs)}."


def _sentence(note: str) -> str:
    """A note of the other forms."""
    return (note[0].upper() + tex(note[1:])).replace(tex("->"), r"$\to$")


def _audits(rows: Sequence[Row]) -> str:
    """How the bounds of the column `at least` came about."""
    said = dict.fromkeys(how_audited(row) for row in rows if audit.has_bound(row))
    return rf"At least: one-sided 95\,\% bound of an audit ({tex(', '.join(said))} survivors)."


def _warnings(rows: Sequence[Row]) -> list[str]:
    """What to know before believing the numbers, for comments."""
    return [
        one_line(f"{row['model']}, {row['threat']}: {text}")
        for row in rows
        for text in (*texts.warnings(row), *filter(None, [audit.wanted(row)]))
    ]
