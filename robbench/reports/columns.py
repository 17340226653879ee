"""The columns a comparison can show: their heads, and how a row's number is written.

One place for the terminal, Markdown and LaTeX; for machines a column is the row's own values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from robbench.core.errors import UserError, unknown
from robbench.reports import audit, texts

Row = Mapping[str, Any]


def _is_best(row: Row) -> bool:
    return bool(row["best"])


@dataclass(frozen=True)
class Column:
    """`head` names it, `narrow` in two lines of a terminal; `text` writes a row's value.

    `keys` are its values in the row; `bold` says whether the cell is of the best; `value` is what
    rows are sorted by where a cell shows several.
    """

    head: str
    narrow: str
    text: Callable[[Row], str]
    keys: tuple[str, ...]
    right: bool = True
    bold: Callable[[Row], bool] = _is_best
    value: Callable[[Row], float | None] | None = None


_COMPOSED = {
    "model": Column("model", "model", texts.name, ("model",), right=False),
    "clean_accuracy": Column(
        "clean accuracy",
        "clean\nacc.",
        lambda row: texts.percent(row["clean_accuracy"]),
        ("clean_accuracy",),
    ),
    "robust_accuracy": Column(
        "robust accuracy (95 % interval)",
        "robust accuracy\n(95 %)",
        texts.robust,
        ("robust_accuracy", "robust_accuracy_low", "robust_accuracy_high"),
    ),
    "certified_accuracy": Column(
        "certified accuracy",
        "certified",
        lambda row: texts.percent(row["certified_accuracy"]),
        ("certified_accuracy",),
    ),
    "robust_accuracy_last": Column(
        "robust accuracy, last checkpoint",
        "robust\n(last)",
        lambda row: texts.percent(row["robust_accuracy_last"]),
        ("robust_accuracy_last",),
    ),
    "robust_accuracy_audited": Column(
        "robust accuracy at least (audit)",
        "at least\n(audit)",
        audit.at_least,
        ("robust_accuracy_audited",),
    ),
    "robust_accuracy_sd": Column(
        "sd over seeds (points)",
        "sd\n(points)",
        lambda row: texts.points(row["robust_accuracy_sd"]),
        ("robust_accuracy_sd",),
    ),
    "adversarial_ratio": Column(
        "adversarial ratio",
        "adv.\nratio",
        lambda row: texts.percent(texts.adversarial(row)),
        ("adversarial_ratio",),
    ),
    "margins": Column(
        "median logit margin, clean -> worst",
        "median margin\nclean -> worst",
        texts.margins,
        ("clean_margin_p50", "adv_margin_p50"),
        value=lambda row: row["adv_margin_p50"],
    ),
    "rejections": Column(
        "rejected, clean -> under attack",
        "rejected\nclean -> attacked",
        lambda row: texts.rejections(row) or texts.NOTHING,
        ("clean_rejection_rate", "adv_rejection_rate"),
        value=lambda row: row["adv_rejection_rate"],
    ),
    "difference": Column(
        "difference to the first (points)",
        "to the first\n(points)",
        texts.difference,
        ("baseline", "n_common", "robust_difference", "mcnemar_p", "p_holm"),
        value=lambda row: row["robust_difference"],
    ),
    "queries": Column(
        "queries per sample (F+B)",
        "F+B per\nsample",
        texts.queries,
        ("n_samples", "n_forward", "n_backward"),
        value=texts.queries_per_sample,
    ),
    "data": Column(
        "data", "data", lambda row: f"{row['data']} {row['split']}", ("data", "split"), right=False
    ),
}
_COMPOSED |= {
    "precision": Column(
        "precision", "prec.", lambda row: row["precision"] or "fp32", ("precision",), right=False
    ),
    "checks": Column(
        "checks", "checks", lambda row: row["checks"] or texts.NOTHING, ("checks",), right=False
    ),
}
_TARGETED = {
    name: replace(_COMPOSED[name], head=head, narrow=narrow)
    for name, head, narrow in (
        ("robust_accuracy", "target not reached (95 % interval)", "not reached\n(95 %)"),
        ("adversarial_ratio", "targeted success", "targeted\nsuccess"),
    )
}
"""What some are called where every row has a target."""
DEFAULT = (
    "model",
    "clean_accuracy",
    "robust_accuracy",
    "adversarial_ratio",
    "margins",
    "difference",
    "queries",
)
"""What the terminal shows; everything these runs share is above the table."""
WITH_FACTS = ("model", "data", "threat", "attack", *DEFAULT[1:])
"""What a table shows that has no titles."""

_WHERE_THEY_DIFFER = ("precision", "seed", "checks")
"""Shown besides where rows differ in them."""

_WORDS = {"adv": "worst", "p50": "median", "n": "number of"}


def parse_columns(text: str, row: Row) -> tuple[str, ...]:
    """The names in `model,clean_accuracy,...`.

    Raises UserError for one that is neither in `row` nor composed, and for none.
    """
    names = tuple(
        dict.fromkeys(name.strip().replace("-", "_") for name in text.split(",") if name.strip())
    )
    if not names:
        raise UserError(
            "--columns names no column; write such as --columns "
            "model,clean_accuracy,robust_accuracy"
        )
    for name in names:
        if name not in row and name not in _COMPOSED:
            raise unknown("column", name, {*row, *_COMPOSED})
    return names


def varying(rows: Sequence[Row], names: Sequence[str]) -> tuple[str, ...]:
    """`names`, and before the numbers precision, seed and checks where rows differ in them."""
    differ = [
        name
        for name in _WHERE_THEY_DIFFER
        if len({column(name).text(row) for row in rows}) > 1 and name not in names
    ]
    at = names.index(DEFAULT[1])
    return (*names[:at], *differ, *names[at:])


def extended(rows: Sequence[Row], names: Sequence[str]) -> tuple[str, ...]:
    """`names`, and after robust accuracy its lower bounds and the last checkpoint, if known."""
    after = names.index("robust_accuracy") + 1
    more = [
        name
        for name in ("robust_accuracy_audited", "certified_accuracy", "robust_accuracy_last")
        if name not in names and any(row.get(name) is not None for row in rows)
    ]
    return (*names[:after], *more, *names[after:])


def apart(rows: Sequence[Row], names: Sequence[str]) -> list[Row]:
    """The rows, whose models' names do not say again what has a column of its own."""
    return [{**row, "settings": _not_shown(row, names)} for row in rows]


def usual(rows: Sequence[Row], names: Sequence[str] = DEFAULT) -> tuple[str, ...]:
    """The columns of a table for which none were chosen: `names`, and what these rows need besides.

    That is what `varying` and `extended` add, the standard deviation beside a mean over seeds, and
    rejections where a model rejects.
    """
    names = extended(rows, varying(rows, names))
    if any(map(texts.rejections, rows)) and "rejections" not in names:
        after = names.index("robust_accuracy") + 1
        names = (*names[:after], "rejections", *names[after:])
    if not any(row["n_seeds"] for row in rows):
        return tuple(names)
    after = names.index("robust_accuracy") + 1
    return (*names[:after], "robust_accuracy_sd", *names[after:])


def shown(
    rows: Sequence[Row], names: Sequence[str] | None, otherwise: Sequence[str] = DEFAULT
) -> tuple[list[Row], list[Column]]:
    """Rows and columns of a table: those of `names`, or the usual ones."""
    names = usual(rows, otherwise) if names is None else names
    targeted = bool(rows) and all(row["target"] is not None for row in rows)
    found = [_TARGETED.get(name, column(name)) if targeted else column(name) for name in names]
    return apart(rows, names), found


def _not_shown(row: Row, names: Sequence[str]) -> str | None:
    shown = {"precision": row["precision"] or "fp32", "seed": f"seed {row['seed']}"}
    hidden = {word for name, word in shown.items() if name in names}
    parts = [part.split(", ") for part in (row["settings"] or "").split("; ")]
    left = [", ".join(word for word in part if word not in hidden) for part in parts]
    return "; ".join(filter(None, left)) or None


def column(name: str) -> Column:
    """The column of that name: a composed one, or the row's value as it is."""
    if name in _COMPOSED:
        return _COMPOSED[name]
    words = name.split("_")
    head = " ".join(_WORDS.get(word, word) for word in words)
    half = (len(words) + 1) // 2
    narrow = (
        " ".join(words)
        if len(name) < 10
        else f"{' '.join(words[:half])}\n{' '.join(words[half:])}".strip()
    )
    return Column(
        head,
        narrow,
        lambda row: _written(name, row[name]),
        (name,),
        right=name not in ("threat", "attack", "loss"),
    )


def select(rows: Sequence[Row], names: Sequence[str] | None) -> list[dict[str, Any]]:
    """The rows with the values behind these columns only; all of them for None."""
    keys = (
        None
        if names is None
        else list(dict.fromkeys(key for name in names for key in column(name).keys))
    )
    return [dict(row) if keys is None else {key: row[key] for key in keys} for row in rows]


def _written(name: str, value: Any) -> str:
    if value is None:
        return texts.NOTHING
    if isinstance(value, list):
        return (
            ", ".join(str(item["name"] if isinstance(item, Mapping) else item) for item in value)
            or texts.NOTHING
        )
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        rate = any(
            part in name for part in ("accuracy", "ratio", "robust_difference", "rejection_rate")
        )
        return (
            texts.percent(value)
            if rate
            else texts.p_value(value)
            if name.endswith(("_p", "p_holm"))
            else texts.digits(value, 4)
            if math.isfinite(value)
            else str(value)
        )
    return str(value)
