"""Robust accuracy with a column for each budget: one row per model. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robbench.analysis.comparable import same_threat
from robbench.analysis.seeds import seeds
from robbench.core.errors import UserError
from robbench.core.limits import Limits

Row = Mapping[str, Any]
Key = tuple[Any, ...]
PIVOTS = ("threat",)
"""What can be in columns."""
_CLEAN = ("n_samples", "clean_accuracy", "clean_accuracy_low", "clean_accuracy_high")


@dataclass(frozen=True)
class Pivot:
    """One row per model, with a cell for each of `threats`.

    Budgets ascend, norms are in the order of the runs. A row has model (its name and what tells it
    from others of that name), data, split, n_seeds, n_samples, clean accuracy with its interval,
    and cells: by threat model the row of `compare`, None where there is no run. left_out: threat
    models without a budget, which have no robust accuracy.
    """

    threats: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]
    left_out: tuple[str, ...] = ()

    def flat(self) -> list[dict[str, Any]]:
        """Rows of plain values, for JSON, CSV and data frames.

        Under the name of each threat model is the robust accuracy, in [0,1]; beside `linf:8/255`
        there are `linf:8/255_low`, `_high`, `_sd` (over training seeds), `_best` (whether the test
        tells it from every other run of its column) and `_run`.
        """
        return [self._flat(row) for row in self.rows]

    def _flat(self, row: Row) -> dict[str, Any]:
        found = {name: value for name, value in row.items() if name != "cells"}
        for threat in self.threats:
            cell = row["cells"][threat] or {}
            found |= {
                threat: cell.get("robust_accuracy"),
                f"{threat}_low": cell.get("robust_accuracy_low"),
                f"{threat}_high": cell.get("robust_accuracy_high"),
                f"{threat}_sd": cell.get("robust_accuracy_sd"),
                f"{threat}_best": cell.get("best"),
                f"{threat}_run": cell.get("run_id"),
            }
        return found


def pivot(rows: Sequence[Row], by: str = "threat") -> Pivot:
    """The rows of `compare` (or of `over_training_seeds`) with budgets in columns.

    Models keep their order. Runs of one model share a row unless two of them are under one threat
    model: then weights, precision and seed, else attack and limits, make further rows. Raises
    UserError for another `by`, where no run has a budget, and for two runs of one row under one
    threat model.
    """
    if by not in PIVOTS:
        raise UserError(f"--pivot {by}: only the threat model can be in columns, --pivot threat")
    bounded = [row for row in rows if row["robust_accuracy"] is not None]
    if not bounded:
        raise UserError("nothing to pivot: no run has a budget, so none has a robust accuracy")
    columns = _columns(bounded)
    lines: dict[Key, dict[str, Row]] = {}
    for row, threat, key in zip(bounded, columns, _keys(bounded, columns), strict=True):
        cells = lines.setdefault(key, {})
        if threat in cells:
            both = f"{cells[threat]['run_id']} and {row['run_id']}"
            raise UserError(
                f"runs {both} are both of {row['model']} under {threat}: name the one that you mean"
            )
        cells[threat] = row
    threats = tuple(sorted(dict.fromkeys(columns), key=_order(bounded, columns)))
    left_out = dict.fromkeys(row["threat"] for row in rows if row["robust_accuracy"] is None)
    return Pivot(
        threats, tuple(_line(key, cells, threats) for key, cells in lines.items()), tuple(left_out)
    )


def _line(key: Key, cells: Mapping[str, Row], threats: Sequence[str]) -> dict[str, Any]:
    first = next(iter(cells.values()))
    counts = {row["n_seeds"] for row in cells.values()}
    name, *apart = key[2:]
    if first["n_seeds"] and len(counts) == 1:
        name += seeds(first["n_seeds"])
    return {
        "model": name + (f" ({', '.join(filter(None, apart))})" if any(apart) else ""),
        **{part: first[part] for part in ("data", "split")},
        "n_seeds": first["n_seeds"] if len(counts) == 1 else None,
        **{part: first[part] for part in _CLEAN},
        "cells": {threat: cells.get(threat) for threat in threats},
    }


def _columns(rows: Sequence[Row]) -> list[str]:
    """The column of each row: its threat model as it is first written."""
    heads: list[Row] = []
    columns = []
    for row in rows:
        head = next((one for one in heads if same_threat(one, row)), row)
        heads += [row] if head is row else []
        columns.append(str(head["threat"]))
    return columns


def _order(rows: Sequence[Row], columns: Sequence[str]) -> Callable[[str], tuple[int, float]]:
    norms = list(dict.fromkeys(row["norm"] for row in rows))
    sizes = {
        column: (norms.index(row["norm"]), float(row["eps"]))
        for row, column in zip(rows, columns, strict=True)
    }
    return sizes.__getitem__


def _keys(rows: Sequence[Row], columns: Sequence[str]) -> list[Key]:
    """Of each row data, split, name, and what keeps it apart from others of its column."""
    plain = [(row["data"], row["split"], _plain_name(row)) for row in rows]
    keys: list[Key] = [*plain]
    for one in dict.fromkeys(plain):
        mine = [i for i, key in enumerate(plain) if key == one]
        facts = [_facts(rows[i]) for i in mine]
        differs = [len(set(values)) > 1 for values in zip(*facts, strict=True)]
        # Other weights are another model even where no column has both.
        counts = [1, 3, 5]
        for count in counts:
            for i, fact in zip(mine, facts, strict=True):
                keys[i] = (*one, *(fact[n] for n in range(count) if differs[n]))
            if len({(keys[i], columns[i]) for i in mine}) == len(mine):
                break
    return keys


def _plain_name(row: Row) -> str:
    return str(row["model"]).removesuffix(seeds(row["n_seeds"]) if row["n_seeds"] else "")


def _facts(row: Row) -> tuple[str, ...]:
    return (
        "" if row["n_seeds"] else f"weights {str(row['model_hash'])[:4]}",
        row["precision"] or "fp32",
        f"seed {row['seed']}",
        row["attack"],
        f"limits {Limits(row['max_time_s'], row['max_queries'])}",
    )
