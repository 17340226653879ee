"""How the cells of a comparison are written in LaTeX: numbers as mathematics, text escaped."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from robbench.core.corruptions import in_words, is_corruption
from robbench.core.escaping import one_line
from robbench.core.threat_text import split_threat
from robbench.reports import audit, columns, texts
from robbench.reports.columns import Row

_SIGNS = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
}
_SIGNS |= {sign: f"\\{sign}" for sign in "&%$#_{}"}
_NORMS = {
    "linf": r"$\ell_\infty$",
    "l2": r"$\ell_2$",
    "l1": r"$\ell_1$",
    "l0": r"$\ell_0$",
    "l0px": r"$\ell_0^{px}$",
}
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?( ± \d+(\.\d+)?)?")
DAGGER = r"$^\dagger$"


@dataclass(frozen=True)
class LatexColumn:
    """Its head, and how a row's cell is written; text is left-aligned."""

    head: str
    cell: Callable[[Row], str]
    text: bool = False


def tex(text: str) -> str:
    """A text that others chose, as LaTeX shows it: in one line, no command, no ligature."""
    return "".join(_SIGNS.get(sign, sign) for sign in one_line(text)).replace("--", "-{}-")


def threat(text: str) -> str:
    r"""A threat model: `linf:8/255` is $\ell_\infty$, $\varepsilon = 8/255$."""
    name = split_threat(text).norm
    if is_corruption(name):
        return f"{norm(name)}, {size(text)}"
    return f"{norm(name)}, " + size(text).replace("$", r"$\varepsilon = ", 1)


def size(text: str) -> str:
    r"""The budget of a threat model and its target, if any: `$8/255$ $\to$ cat`, `severity $3$`."""
    parts = split_threat(text)
    if is_corruption(parts.norm):
        return f"severity ${tex(parts.budget)}$"
    target = "" if parts.target is None else rf" $\to$ {tex(parts.target)}"
    return f"${budget(parts.budget)}${target}"


def norm(name: str) -> str:
    r"""`$\ell_2$`, and `motion blur` of a corruption."""
    return _NORMS.get(name) or tex(in_words(name))


def budget(eps: str) -> str:
    """For mathematics."""
    return r"\infty" if eps == "inf" else tex(eps)


def column_of(name: str, *, targeted: bool = False) -> LatexColumn:
    """The column of that name: with mathematics where it has numbers, else the plain one's text.

    targeted: of rows that all have a target, where two are called otherwise.
    """
    if targeted and name in _TARGETED:
        return replace(_COLUMNS[name], head=_TARGETED[name])
    if name in _COLUMNS:
        return _COLUMNS[name]
    return plain(columns.column(name))


def plain(column: columns.Column) -> LatexColumn:
    """A column of other forms, with its own text."""
    return LatexColumn(
        tex(column.head), lambda row: _value(column.text(row)), text=not column.right
    )


def _value(text: str) -> str:
    if _NUMBER.fullmatch(text):
        return f"${text}$".replace("±", r"\pm")
    return "--" if text == texts.NOTHING else tex(text)


def _name(row: Row) -> str:
    settings = f" ({row['settings']})" if row["settings"] else ""
    return tex(f"{row['model']}{settings}") + (DAGGER if row["differs"] else "")


def rate(row: Row | None, name: str, best: bool) -> str:
    """Percent with the standard deviation over seeds, or the interval of one run."""
    if row is None or row[name] is None:
        return "--"
    value, spread = texts.points(row[name]), row[f"{name}_sd"]
    if spread is not None:
        value += rf" \pm {texts.points(spread)}"
    value = rf"$\mathbf{{{value}}}$" if best else f"${value}$"
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    if row["n_seeds"] or low is None or math.isnan(low) or name == "clean_accuracy":
        return value
    return rf"{value} {{\scriptsize $[{texts.points(low)}, {texts.points(high)}]$}}"


def _margins(row: Row) -> str:
    clean, worst = (texts.number(row[f"{name}_margin_p50"]) for name in ("clean", "adv"))
    if texts.NOTHING in (clean, worst):  # the sign is a minus in mathematics
        return " $\\rightarrow$ ".join(map(_value, (clean, worst)))
    return rf"${clean} \rightarrow {worst}$"


def _difference(row: Row) -> str:
    if row["robust_difference"] is None:
        return "--"
    points = f"${texts.points(row['robust_difference'], signed=True)}$"
    return points if row["p_holm"] is None else f"{points} (${texts.p_value(row['p_holm'])}$)"


_COLUMNS: Mapping[str, LatexColumn] = {
    "model": LatexColumn("Model", _name, text=True),
    "clean_accuracy": LatexColumn(r"Clean (\%)", lambda row: rate(row, "clean_accuracy", False)),
    "robust_accuracy": LatexColumn(
        r"Robust (\%)", lambda row: rate(row, "robust_accuracy", bool(row["best"]))
    ),
    "robust_accuracy_audited": LatexColumn(
        r"At least (\%)", lambda row: _value(audit.at_least(row).rstrip("%"))
    ),
    "certified_accuracy": LatexColumn(
        r"Certified (\%)", lambda row: _value(texts.points(row["certified_accuracy"]))
    ),
    "robust_accuracy_last": LatexColumn(
        r"Last (\%)", lambda row: _value(texts.points(row["robust_accuracy_last"]))
    ),
    "adversarial_ratio": LatexColumn(
        r"Adv.\ ratio (\%)", lambda row: _value(texts.points(texts.adversarial(row)))
    ),
    "margins": LatexColumn("Median margin", _margins),
    "difference": LatexColumn("Difference", _difference),
    "queries": LatexColumn(
        "F+B", lambda row: f"${texts.queries(row)}$".replace("k", r"\mathrm{k}")
    ),
    "threat": LatexColumn("Threat model", lambda row: threat(row["threat"]), text=True),
    "attack": LatexColumn("Attack", lambda row: rf"\texttt{{{tex(row['attack'])}}}", text=True),
    "data": LatexColumn("Data", lambda row: tex(f"{row['data']} {row['split']}"), text=True),
}
_TARGETED = {
    "robust_accuracy": r"Target not reached (\%)",
    "adversarial_ratio": r"Targeted success (\%)",
}
