"""The section that compares the runs, a group of rows for each threat model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from robbench.analysis.certified import add_proofs
from robbench.analysis.compare import WITHOUT_BUDGET, compare
from robbench.analysis.seeds import over_training_seeds
from robbench.analysis.series import model_names, name_of
from robbench.core.limits import Limits
from robbench.reports import audit, corrupted, texts
from robbench.reports.columns import Column
from robbench.reports.footnotes import footnotes
from robbench.reports.html.captions import CERTIFIED, RADIUS
from robbench.reports.html.data import ReportData
from robbench.reports.html.page import Cell, Head, Notes, Section, Table, number, percent

Row = Mapping[str, Any]

_FACTS = ("data", "split", "subset", "threat", "attack")
"""What a group of rows has in common, beside limits."""
_MODEL = Head("model", number=False)
_CLEAN = (Head("clean acc.", "clean accuracy"),)
_BUDGET = (
    Head("robust accuracy", "share of samples that no attack broke", small="95 % interval"),
    *_CLEAN,
    Head("adv. ratio", "adversarial ratio: 1 - robust accuracy"),
    Head("clean margin", "median logit margin"),
    Head("worst margin", "median of the lowest logit margins found"),
)
_TARGETED = (
    Head("not reached", "share of samples that did not reach the target", small="95 % interval"),
    *_CLEAN,
    Head("target reached", "targeted success: share of samples that did reach it"),
    *_BUDGET[3:],
)
_PROVEN = Head("certified", "share of samples with a certificate: a lower bound")
_RADIUS = Head("certified radius", "median of the sizes up to which no perturbation can succeed")
_FIRST = "to the first"
_COST = Head("F+B", "forwards and backwards per sample")


def comparison(material: ReportData) -> Section:
    """Every run (or recipe) in one table; what all have in common is in its caption."""
    every = _rows(material)
    rows = corrupted.without(every, material.corrupted)
    blocks: list[Any] = []
    with_budget = [row for row in rows if row["robust_accuracy"] is not None]
    without = [row for row in rows if row["robust_accuracy"] is None]
    if with_budget:
        blocks.append(_table(with_budget, _budget_heads(rows), _budget_cells))
    if without:
        heads = [Head("median distance", "of the smallest perturbation found"), *_radius(rows)]
        heads += [*_CLEAN, Head("clean margin", "median logit margin"), _COST]
        blocks.append(_table(without, heads, _endless_cells))
    said = [(_title(row), text) for row in rows for text in texts.warnings(row)]
    warnings = _gathered(said)
    for group in corrupted.groups(material.corrupted):
        in_all = corrupted.summary_columns(group)
        blocks.append(_plain_table(corrupted.title(group[0]), group, in_all))
        by_severity = corrupted.by_severity(group, every)
        blocks.append(_plain_table("By corruption and severity", *by_severity))
        warnings += corrupted.warnings(group, every)
    if warnings:
        blocks.append(Notes(warnings, warning=True))
    remarks = [
        (_title(row), row["note"])
        for row in rows
        # A run shown alone has nothing to be paired with.
        if row["note"] not in (None, "baseline", WITHOUT_BUDGET) and len(rows) > 1
    ]
    remarks += [
        (_title(row), f"rejected, clean -> under attack: {rejected}")
        for row in rows
        if (rejected := texts.rejections(row))
    ]
    remarks += [(_title(row), shown) for row in rows if (shown := audit.shown(row))]
    feet = [note.replace("* best", "Bold: best") for note in footnotes(rows)]
    proven = any(row["certified_accuracy"] is not None for row in rows)
    captions = [*([CERTIFIED] if proven else []), *([RADIUS] if _radius(rows) else [])]
    notes = [*_gathered(remarks), *feet, *captions]
    notes += [corrupted.NOTE] if material.corrupted else []
    return Section("comparison", "Comparison", [*blocks, Notes(notes)])


def _rows(material: ReportData) -> list[dict[str, Any]]:
    """The rows of `compare`, or over seeds, with the names the page has for the models."""
    runs, names = material.runs, model_names(material.runs)
    rows = compare(runs)
    add_proofs(rows, material.certified)
    if material.over_seeds:
        return over_training_seeds(runs, rows)
    return [{**row, "model": name_of(run, names)} for run, row in zip(runs, rows, strict=True)]


def _budget_heads(rows: Sequence[Row]) -> list[Head]:
    test = "paired t test over seeds" if rows[0]["n_seeds"] else "exact McNemar test"
    first = Head(_FIRST, f"robust accuracy in points; {test}", small="points, p")
    targeted = all(row["target"] is not None for row in rows)
    robust, *others = _TARGETED if targeted else _BUDGET
    proven = [_PROVEN] if any(row["certified_accuracy"] is not None for row in rows) else []
    return [robust, *proven, *others, *([first] if len(rows) > 1 else []), _COST]


def _table(rows: Sequence[Row], heads: Sequence[Head], cells: Any) -> Table:
    differ = [name for name in _FACTS if len({row[name] for row in rows}) > 1]
    losses = {row["loss"] for row in rows}
    common = [texts.threat(rows[0]["threat"])] if "threat" not in differ else []
    one = {name: rows[0][name] for name in _FACTS if name not in differ and rows[0][name]}
    common += [" ".join(one[name] for name in ("data", "split") if name in one)]
    common += [f"{name} {one[name]}" for name in ("subset", "attack") if name in one]
    common += [f"loss {rows[0]['loss']}"] if len(losses) == 1 and rows[0]["loss"] else []
    sizes = sorted({row["n_samples"] for row in rows})
    size = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
    return Table(
        "; ".join([*filter(None, common), f"{size} samples each"]),
        [_MODEL, *heads],
        [[_name(row, losses), *cells(row, heads)] for row in rows],
        titles=[_group(row, differ) for row in rows],
        sortable=True,
        mark="comparison",
    )


def _plain_table(caption: str, rows: Sequence[Row], columns: Sequence[Column]) -> Table:
    heads = [Head(column.head, number=column.right) for column in columns]
    cells = [[Cell(column.text(row)) for column in columns] for row in rows]
    return Table(caption, heads, cells)


def _group(row: Row, differ: Sequence[str]) -> str:
    """What tells this group of rows from the others, the threat model first."""
    limits = Limits(row["max_time_s"], row["max_queries"])
    said = [texts.threat(row["threat"])] if "threat" in differ else []
    said += [str(row[name]) for name in ("data", "split") if name in differ]
    said += [f"subset {row['subset'] or 'all'}"] if "subset" in differ else []
    said += [row["attack"]] if "attack" in differ else []
    return "; ".join([*said, *([f"within {limits}"] if limits else [])])


def _name(row: Row, losses: set[str | None]) -> Cell:
    small = [row["settings"], row["loss"] if len(losses) > 1 and row["loss"] else None]
    return Cell(row["model"], small=", ".join(filter(None, small)))


def _budget_cells(row: Row, heads: Sequence[Head]) -> list[Cell]:
    robust = Cell(
        texts.percent(row["robust_accuracy"]),
        row["robust_accuracy"],
        mark="best" if row["best"] else "",
        small=", ".join([texts.interval(row), *_spread(row), *_at_least(row)]),
        spoken=f"{texts.percent(row['robust_accuracy'])}, best" if row["best"] else "",
    )
    proven = [percent(row["certified_accuracy"])] if _PROVEN in heads else []
    first = [_difference(row)] if any(head.text == _FIRST for head in heads) else []
    return [
        robust,
        *proven,
        percent(row["clean_accuracy"]),
        percent(row["adversarial_ratio"]),
        number(row["clean_margin_p50"]),
        number(row["adv_margin_p50"]),
        *first,
        _queries(row),
    ]


def _spread(row: Row) -> list[str]:
    """Of a mean over several training seeds its standard deviation."""
    sd = row["robust_accuracy_sd"]
    return [] if sd is None else [f"sd {texts.points(sd)}"]


def _at_least(row: Row) -> list[str]:
    """Of an audited run the bound that the audit gives."""
    return [f"at least {audit.at_least(row)}"] if audit.has_bound(row) else []


def _difference(row: Row) -> Cell:
    if row["robust_difference"] is None:
        return Cell("first" if row["note"] == "baseline" else texts.NOTHING)
    moved, p = row["robust_difference"], row["p_holm"]
    small = "no test" if p is None else texts.p_value(p)
    return Cell(texts.points(moved, signed=True), 100 * moved, small=small)


def _queries(row: Row) -> Cell:
    return Cell(texts.queries(row), texts.queries_per_sample(row))


def _radius(rows: Sequence[Row]) -> list[Head]:
    return [_RADIUS] if any(row["certified_radius_p50"] is not None for row in rows) else []


def _endless_cells(row: Row, heads: Sequence[Head]) -> list[Cell]:
    return [
        _size(row["distance_p50"]),
        *([_size(row["certified_radius_p50"])] if _RADIUS in heads else []),
        percent(row["clean_accuracy"]),
        number(row["clean_margin_p50"]),
        _queries(row),
    ]


def _size(value: float | None) -> Cell:
    return Cell(texts.digits(value), value)


def _title(row: Row) -> str:
    return " ".join(filter(None, [row["model"], row["settings"], texts.threat(row["threat"])]))


def _gathered(said: Sequence[tuple[str, str]]) -> list[str]:
    """(who, what) -> one line for each what, with all it is said of."""
    who: dict[str, list[str]] = {}
    for title, text in said:
        who.setdefault(text, []).append(title)
    return [f"{', '.join(dict.fromkeys(titles))}: {text}" for text, titles in who.items()]
