"""Checks of a table's values on reading: types, nulls, ranges and the JSON in columns.

No other code has to check them again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, BeforeValidator

from robbench.core.config import parse_limit
from robbench.core.corruptions import norms_of_corruptions
from robbench.core.documents import parse_json
from robbench.core.errors import UserError
from robbench.core.norms import NORMS
from robbench.core.spec import checked


class _Open(BaseModel, extra="allow"):
    """Keys that are read; others may be there."""


class _Settings(_Open):
    limit: Annotated[int | str | None, BeforeValidator(parse_limit)] = None
    batch_size: int | None = None
    precision: str | None = None
    compile: bool | None = None
    replay: list[str] | None = None


class _Flag(_Open):
    name: str
    text: str


class Provenance(_Open):
    """What a command recorded of itself."""

    argv: list[str] | None = None
    env: dict[str, str] | None = None
    packages: dict[str, str | None] = {}
    platform: str | None = None
    audit_params: list[str] | None = None


class _Detail(_Open):
    singular_values: list[float] | None = None
    norm: str | None = None
    reason: str | None = None
    low: float | None = None
    high: float | None = None
    used: int | None = None
    left_out: int | None = None
    brittle: int | None = None
    robust: int | None = None
    compared: int | None = None
    other_runs: int | None = None


class _Margin(_Open):
    norm: str
    runs: list[str]
    samples: int
    censored: int
    reach: float | None
    median_low: float | None


class _OfRuns(_Open):
    runs: list[str]
    norm: str


class _Curve(_Open):
    runs: list[str]
    end: float | None
    area_low: float | None


OF_INPUT_MARGINS = (
    "input_margin_",
    "security_curve_",
    "margin_consistency_",
    "brittle_",
    "optimality",
)
"""How the names of measures begin that rest on the input margins of several runs."""

_JSON: dict[str, dict[str, Any]] = {
    "runs": {
        "attack_params": list[str],
        "config": _Settings,
        "provenance": Provenance,
        "flags": list[_Flag],
        "train_config": dict[str, Any],
        "tags": list[str],
        "classes": list[str],
    },
    "measures": {"detail": _Detail},
    "epochs": {"logs": dict[str, float | None]},
}
"""Per table the columns of JSON text, and what the text holds."""

_RANGES: dict[str, dict[str, tuple[float, float]]] = {
    "runs": {
        "eps": (0, float("inf")),
        "n_samples": (1, 2**62),
        "batch_size": (1, 2**62),
        "ci_level": (0, 1),
        "max_time_s": (0, float("inf")),
        "max_queries": (1, 2**62),
        **dict.fromkeys(
            (
                "n_clean_correct",
                "n_adversarial",
                "n_robust",
                "n_unconfirmed",
                "n_error",
                "n_unfinished",
                "n_disagreements",
                "n_forward",
                "n_backward",
                "seed",
                "n_audited",
                "n_audit_broken",
                "n_survivors",
            ),
            (0, 2**62),
        ),
        **dict.fromkeys(
            (
                "clean_accuracy",
                "robust_accuracy",
                "adversarial_ratio",
                "attack_success_rate",
                "robust_accuracy_low",
                "robust_accuracy_high",
                "clean_accuracy_low",
                "clean_accuracy_high",
                "robust_accuracy_floor",
                "clean_rejection_rate",
                "adv_rejection_rate",
                "audit_missed_high",
                "robust_accuracy_audited",
            ),
            (0, 1),
        ),
    },
    "samples": {
        "sample_index": (0, 2**31),
        "label": (0, 2**31),
        "n_forward": (0, 2**62),
        "n_backward": (0, 2**62),
    },
    "epochs": {"epoch": (0, 2**31)},
}
"""Smallest and largest value of a column.

NaN, which says that there is no number, passes where numbers are floats.
"""

_OF_AUDITS = ("n_audited", "n_audit_broken")  # known where there was one
_KNOWN = ("eps", "ci_level")  # floats that are always known
_WORDS: dict[str, dict[str, tuple[str, ...]]] = {
    "runs": {"norm": (*NORMS, *norms_of_corruptions())},
    "checks": {"verdict": ("pass", "fail", "unclear", "skipped")},
    "points": {"encoding": ("f2", "f4")},
}


def require_sound(table: pa.Table, kind: str, where: str) -> None:
    """Raise UserError, beginning with `where`, unless the columns present fit their schema."""
    names, columns = set(table.column_names), table.columns
    try:
        table.validate(full=True)  # text that is no UTF-8, offsets that lead nowhere
        for column in columns:
            if pa.types.is_timestamp(column.type):
                column.to_pylist()
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise UserError(f"{where} is damaged ({' '.join(str(error).split())})") from None
    for field, column in zip(table.schema, columns, strict=True):
        if not field.nullable and column.null_count:
            raise UserError(f"{where}: column {field.name} must not be null")
    if kind == "runs" and "audit_attack" in names:
        audited = table.filter(pc.is_valid(table["audit_attack"]))
        for name in _OF_AUDITS:
            if name in names and audited[name].null_count:
                raise UserError(
                    f"{where}: column {name} must not be null where audit_attack is not"
                )
    for name, (low, high) in _RANGES.get(kind, {}).items():
        if name in names:
            _require_range(table[name], low, high, f"{where}: column {name}", known=name in _KNOWN)
    for name, words in _WORDS.get(kind, {}).items():
        odd = set(table[name].to_pylist()) - set(words) if name in names else ()
        for word in odd:
            raise UserError(
                f"{where}: column {name} holds {repr(word)[:100]}, not {' or '.join(words)}"
            )
    for name, hint in _JSON.get(kind, {}).items():
        for text in table[name].to_pylist() if name in names else ():
            if text is not None:
                checked(
                    hint, parse_json(text, f"{where}: column {name}"), f"{where}: column {name}"
                )
    if (
        kind == "samples"
        and "sample_id" in names
        and pc.count_distinct(table["sample_id"]).as_py() < len(table)
    ):
        raise UserError(f"{where}: column sample_id names a sample twice")


def same_kind(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether values of one type are values of another, be they wider or narrower.

    What has no value at all fits everything.
    """
    if pa.types.is_dictionary(found):
        found = found.value_type
    if pa.types.is_dictionary(wanted):
        wanted = wanted.value_type
    kinds = (
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_boolean,
        pa.types.is_timestamp,
        pa.types.is_list,
        lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind),
        lambda kind: pa.types.is_binary(kind) or pa.types.is_large_binary(kind),
    )
    return bool(pa.types.is_null(found) or any(kind(found) and kind(wanted) for kind in kinds))


def require_margins(details: Mapping[tuple[str, str], Any], where: str) -> None:
    """Raise UserError unless what rests on input margins (by name and split) has its details."""
    for (name, split), detail in details.items():
        if name.startswith("input_margin_"):
            margin = checked(_Margin, detail, f"{where}: detail of {name}")
            curve = details.get((f"security_curve_{margin.norm}", split))
            checked(_Curve, curve, f"{where}: detail of security_curve_{margin.norm:.20}")
        elif name.startswith("security_curve_"):
            checked(_Curve, detail, f"{where}: detail of {name}")
        elif name.startswith(OF_INPUT_MARGINS):
            checked(_OfRuns, detail, f"{where}: detail of {name}")


def _require_range(
    values: pa.ChunkedArray, low: float, high: float, where: str, *, known: bool
) -> None:
    ends: Mapping[str, Any] = pc.min_max(values).as_py()
    for value in ends.values():
        if value is not None and not low <= value <= high and (known or value == value):
            raise UserError(f"{where} holds {value}, which is not from {low:g} to {high:g}")
