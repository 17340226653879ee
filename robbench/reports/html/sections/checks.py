"""The section about the evidence checks: a matrix of checks by runs, then what they found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robbench.analysis.checked import checked
from robbench.analysis.series import model_names, name_of
from robbench.core.corruptions import is_corruption
from robbench.reports import texts
from robbench.reports.answer import how_to_check
from robbench.reports.html.data import ReportData
from robbench.reports.html.page import Cell, Head, Notes, Section, Table, number
from robbench.store.run import Run

Check = Mapping[str, Any]
Checked = Sequence[tuple[str, Run, Sequence[Check]]]
"""Runs that were checked: the model's name, the run, its rows of the checks table."""

_SIGNS = {
    "error": ("\u2716", "failed, an error"),
    "warning": ("\u26a0\ufe0e", "failed, a warning"),
    "note": ("i", "a note"),
    "unclear": ("?", "cannot tell"),
    "pass": ("\u2713", "passed"),
    "skipped": ("\u2013", "skipped"),
}
"""By outcome, the gravest first: the sign in the matrix, and its words."""
_MOST_NAMES = 3
_NAME = 15  # characters of a name above the matrix


def checks(material: ReportData) -> Section:
    """What speaks for and against believing the numbers."""
    names = model_names(material.runs)
    ids = [run.info["run_id"] for run in material.runs]
    attacked = [run.info for run in material.runs if not is_corruption(run.info["norm"])]
    found = [
        (name_of(run, names), run, rows)
        for run, run_id in zip(material.runs, ids, strict=True)
        if (rows := material.checks.get(run_id, ()))
    ]
    blocks: list[Any] = []
    if found:
        blocks.append(_matrix(found))
        blocks += [table] if (table := _findings(found)).rows else []
        blocks.append(_everything(found))
    unchecked = [info for info in attacked if not checked(material.checks.get(info["run_id"], ()))]
    if found and unchecked:
        n = len(unchecked)
        said = f"robbench check was not run on {n} {'run' if n == 1 else 'runs'}"
        blocks.append(Notes([f"{said}; it makes all checks: {how_to_check(unchecked, None)}"]))
    return Section("checks", "Evidence checks", blocks, command=lambda out: _missing(attacked, out))


def _missing(attacked: Sequence[Mapping[str, Any]], out: Path | None) -> str:
    return (
        how_to_check(attacked, out) if attacked else "checks are of attacks, these runs have none"
    )


def outcome(check: Check) -> str:
    """What became of a check: a failed one for information is a note."""
    if check["verdict"] != "fail":
        return str(check["verdict"])
    return "note" if check["severity"] == "info" else str(check["severity"])


def _matrix(found: Checked) -> Table:
    by_run = [{check["check"]: check for check in rows} for _, _, rows in found]
    every = list(dict.fromkeys(name for rows in by_run for name in rows))
    order = list(_SIGNS)

    def gravity(name: str) -> int:
        known = [order.index(outcome(rows[name])) for rows in by_run if name in rows]
        return min(known)

    cells = [
        [Cell(name), *(_sign(rows.get(name)) for rows in by_run)]
        for name in sorted(every, key=gravity)
    ]
    legend = ", ".join(f"{sign} {words}" for sign, words in _SIGNS.values())
    heads = [
        Head(
            short := texts.shortened(name, _NAME),
            name if short != name else "",
            number=False,
            small=texts.threat(run.info["threat"]),
        )
        for name, run, _ in found
    ]
    return Table(legend, [Head("check", number=False), *heads], cells, mark="matrix")


def _sign(check: Check | None) -> Cell:
    if check is None:
        return Cell("", spoken="not run")
    sign, words = _SIGNS[outcome(check)]
    return Cell(sign, mark=outcome(check), spoken=words)


def _findings(found: Checked) -> Table:
    """A row for each finding, with all runs it is about."""
    about: dict[tuple[str, str, str], list[tuple[str, Check]]] = {}
    for name, run, mine in found:
        for check in mine:
            if (what := outcome(check)) not in ("pass", "skipped"):
                who = f"{name} {texts.threat(run.info['threat'])}"
                about.setdefault((check["check"], what, check["text"]), []).append((who, check))
    order = list(_SIGNS)
    rows = [
        [
            Cell(name),
            Cell(_SIGNS[what][1], mark=what),
            Cell(_who([who for who, _ in those], len(found))),
            *_figures(those[0][1]),
            Cell(text),
        ]
        for (name, what, text), those in sorted(
            about.items(), key=lambda item: order.index(item[0][1])
        )
    ]
    heads = [
        Head("check", number=False),
        Head("outcome", number=False),
        Head("runs", number=False),
        Head("figure"),
        Head("threshold"),
        Head("meaning", number=False),
    ]
    return Table("What they found", heads, rows)


def _everything(found: Checked) -> Table:
    rows = [
        [
            Cell(f"{name} {texts.threat(run.info['threat'])}"),
            Cell(check["check"]),
            Cell(check["severity"]),
            Cell(_SIGNS[outcome(check)][1], mark=outcome(check)),
            *_figures(check),
            Cell(check["text"] + _samples(check)),
        ]
        for name, run, checks in found
        for check in checks
    ]
    heads = [
        Head("run", number=False),
        Head("check", number=False),
        Head("severity", number=False),
        Head("outcome", number=False),
        Head("figure"),
        Head("threshold"),
        Head("meaning", number=False),
    ]
    return Table("Every check with its figure and threshold", heads, rows, folded=True)


def _who(names: Sequence[str], n_runs: int) -> str:
    if len(names) == n_runs > 1:
        return f"all {n_runs} runs"
    return f"{len(names)} runs" if len(names) > _MOST_NAMES else ", ".join(names)


def _figures(check: Check) -> list[Cell]:
    """Figure and threshold; none of a check that cannot tell, as its figure decided nothing."""
    known = check["verdict"] != "unclear"
    return [number(check[name] if known else None) for name in ("figure", "threshold")]


def _samples(check: Check) -> str:
    failed = check["verdict"] == "fail" and check["evidence"]
    return f" ({len(check['evidence'])} samples)" if failed else ""
