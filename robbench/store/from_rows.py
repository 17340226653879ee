"""Plain rows as Arrow tables of the schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from robbench.store.schema import SAMPLES


def to_table(schema: pa.Schema, rows: Sequence[Mapping[str, Any]], **constant: Any) -> pa.Table:
    """A table with the full schema; `constant` fills columns that rows lack, null the others.

    Raises ValueError or TypeError, naming the column, for an unknown column, a null where none may
    be, or a value that would change its meaning (a fraction in an integer column, a number out of
    range).
    """
    table = schema.metadata[b"robbench.table"].decode()
    unknown = set().union(*rows) - set(schema.names)
    if unknown:
        raise ValueError(f"{table} has no column {', '.join(sorted(unknown))}")
    arrays = []
    for field in schema:
        values = [row.get(field.name, constant.get(field.name)) for row in rows]
        if not field.nullable and any(value is None for value in values):
            raise ValueError(f"{table}.{field.name} must not be null")
        arrays.append(_array(f"{table}.{field.name}", field.type, values))
    return pa.Table.from_arrays(arrays, schema=schema)


def _array(name: str, kind: pa.DataType, values: list[Any]) -> pa.Array:
    if pa.types.is_integer(kind) and any(isinstance(value, float) for value in values):
        # Arrow would cut the fraction off without a word.
        raise TypeError(f"{name} must be an integer")
    if pa.types.is_timestamp(kind):
        values = [_naive_utc(value) for value in values]
    try:
        return pa.array(values, kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise type(error)(f"{name}: {error}") from None


def _naive_utc(time: datetime | None) -> datetime | None:
    utc = time.astimezone(UTC) if time and time.tzinfo else time
    return utc and utc.replace(tzinfo=None)


def samples_table(run_id: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """The samples table of a run, sorted by sample_index; rows need not repeat the run id.

    Raises ValueError or TypeError as `to_table` does, and ValueError when rows contradict the
    definitions: every sample is either adversarial or robust, one that is wrong without any attack
    is adversarial (unless it has a target, or the point it is judged by is right), and no sample
    appears twice.
    """
    table = to_table(SAMPLES, rows, run_id=run_id)
    ids, order = (
        table["sample_id"].to_numpy(),
        np.argsort(table["sample_index"].to_numpy(), kind="stable"),
    )
    adversarial, robust = table["adversarial"].to_numpy(), table["robust"].to_numpy()
    wrong = ~table["clean_correct"].to_numpy()
    wrong &= table["adv_pred"].to_numpy() != table["label"].to_numpy()
    _reject(
        ids,
        np.array([other != run_id for other in table["run_id"].to_pylist()], bool),
        f"does not belong to run {run_id}",
    )
    _reject(
        ids, ~np.isin(np.arange(len(ids)), np.unique(ids, return_index=True)[1]), "appears twice"
    )
    _reject(ids, adversarial == robust, "must be either adversarial or robust")
    _reject(
        ids,
        robust & wrong & table["target"].is_null().to_numpy(),
        "is robust and yet misclassified without any attack",
    )
    return table.take(order)


def _reject(ids: NDArray[np.int64], bad: NDArray[np.bool_], why: str) -> None:
    if bad.any():
        raise ValueError(f"sample {ids[bad][0]} {why}")
