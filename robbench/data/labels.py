"""The label column of Parquet files: which one it is, its class numbers and names."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from robbench.core.errors import UserError, nearest
from robbench.data.image_files import class_name, in_order, listed

MOST_CLASSES = 1_000_000
_USUAL = ("label", "labels", "fine_label", "target", "targets", "class", "y")
_OTHER = re.compile(
    r"(?:.*[_ -])?(?:id|ids|idx|index|uid|uuid|width|height|size|row|fold|split|age|year)",
    re.IGNORECASE,
)


class Labels(NamedTuple):
    """Class numbers [n], all class names, and what the user should know about them."""

    numbers: NDArray[np.int64]
    classes: tuple[str, ...]
    notes: tuple[str, ...]


class NoLabelsError(UserError):
    """The files of a split carry no labels."""


def label_column(
    schema: pa.Schema, name: str, image: str, table: Callable[[list[str]], pa.Table], path: Path
) -> tuple[str, str | None]:
    """The label column and, where it was guessed, a sentence that says so.

    The name given counts, else the only class column of the `huggingface` metadata, else a usual
    name, else the only column whose values look like classes: few, and no numbering of something
    else. `table(names)` reads columns of the first file. UserError when none or several are left.
    """
    if name != "auto":
        if name not in schema.names:
            raise UserError(f"{path} has no column '{name}'{nearest(name, schema.names)}")
        return _fitting(schema, name, path), None
    declared = [column for column in class_features(schema) if column in schema.names]
    usual = [column for column in schema.names if column.lower() in _USUAL and column != image]
    if len(declared) == 1 and not (usual and declared[0] not in usual):
        return _fitting(schema, declared[0], path), None
    if usual:
        fitting = [column for column in usual if label_kind(schema.field(column).type)]
        if len(fitting) > 1:
            raise UserError(
                f"{path} has several label columns: {', '.join(fitting)}; choose one with "
                "label=NAME"
            )
        return (fitting or [_fitting(schema, usual[0], path)])[0], None
    possible = declared or [
        f.name
        for f in schema
        if f.name != image and label_kind(f.type) and not _OTHER.fullmatch(f.name)
    ]
    values = table(possible)
    likely = declared or [
        column
        for column in possible
        if 1 < len(pc.unique(_decoded(values[column]))) <= len(values) / 2
    ]
    if len(likely) == 1:
        return likely[0], f"column '{likely[0]}' is taken as the label (label=NAME chooses another)"
    if likely:
        raise UserError(
            f"{path} has several label columns: {', '.join(likely)}; choose one with label=NAME"
        )
    raise NoLabelsError(
        f"{path} has no label column; its columns are {', '.join(schema.names)}; one is chosen "
        "with label=NAME"
    )


def class_features(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """The class columns of the `huggingface` schema metadata and their class names."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        found = {
            column: feature.get("names")
            for column, feature in features.items()
            if isinstance(feature, dict)
        }
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return {}
    return {
        column: tuple(map(str, names)) for column, names in found.items() if isinstance(names, list)
    }


def joined(columns: Sequence[pa.ChunkedArray], name: str, paths: Sequence[Path]) -> pa.ChunkedArray:
    """The label columns of a split's files as one. UserError when their types differ."""
    first = columns[0].type
    for path, column in zip(paths, columns, strict=True):
        if label_kind(column.type) != label_kind(first):
            raise UserError(
                f"{path}: column '{name}' holds {column.type}, in the first file of its split "
                f"{first}"
            )
    if any(column.type != first for column in columns):
        columns = [_decoded(column) for column in columns]
        first = {"int": pa.int64(), "bool": pa.bool_(), "text": pa.large_string()}[
            label_kind(first)
        ]
    return pa.chunked_array(
        [chunk.cast(first) for column in columns for chunk in column.chunks], first
    )


def number_labels(
    column: pa.ChunkedArray,
    others: Callable[[], Sequence[pa.ChunkedArray]],
    names: tuple[str, ...],
    renumber: str,
) -> Labels:
    """Class numbers of a split's label column.

    `others` reads the columns of the other splits, for the classes they share. Texts and categories
    become classes by name, and so does all where any split has texts; booleans are false and true,
    whole numbers count from 0; see `renumber` of `ParquetImages`. NoLabelsError when all are
    missing or -1; UserError when some are missing, or far too large, or booleans only here or only
    elsewhere.
    """
    if nulls := column.null_count:
        if nulls == len(column):
            raise NoLabelsError("no row has a label")
        raise UserError(f"{nulls} rows have no label; remove them")
    kind = label_kind(column.type)
    if kind == "int":
        if len(numbers := _whole(column)) and (numbers == -1).all():
            raise NoLabelsError("label -1 of row 0 and of every other row")
        if names:
            return Labels(numbers, names, ())
    every = [column, *filter(_has_labels, others())]
    kinds = {label_kind(one.type) for one in every}
    if len(kinds) > 1 and "bool" in kinds:
        other = next(one for one in every if (label_kind(one.type) == "bool") != (kind == "bool"))
        raise UserError(
            f"the labels hold {column.type}, in another split {other.type}; write them alike"
        )
    if "text" in kinds:
        return _named(every, names)
    if kind == "bool":
        return Labels(_whole(column), ("false", "true"), ())
    seen = np.unique(np.concatenate([np.unique(_whole(one)) for one in every]))
    return _numbered(numbers, seen[seen >= 0], renumber)


def _has_labels(column: pa.ChunkedArray) -> bool:
    """Whether not all are missing or -1, in a column that can hold labels."""
    if label_kind(column.type) != "int":
        return label_kind(column.type) != "" and column.null_count < len(column)
    return bool((_whole(column) != -1).any())


def _named(columns: Sequence[pa.ChunkedArray], names: tuple[str, ...]) -> Labels:
    texts = [_decoded(column).cast(pa.large_string()).dictionary_encode() for column in columns]
    present = {
        class_name(text)
        for column in texts
        for chunk in column.chunks
        for text in chunk.dictionary.to_pylist()
        if text is not None
    }
    classes = list(names) if present <= {*names} else _category_order(columns) or in_order(present)
    if len(classes) > MOST_CLASSES:
        raise UserError(
            f"there are {len(classes):,} different labels; choose another column with label=NAME"
        )
    number = {name: i for i, name in enumerate(classes)}
    parts = [
        np.array([number[class_name(text)] for text in chunk.dictionary.to_pylist()], np.int64)[
            chunk.indices.to_numpy()
        ]
        for chunk in texts[0].chunks
    ]
    return Labels(np.concatenate([np.empty(0, np.int64), *parts]), tuple(classes), ())


def _category_order(columns: Sequence[pa.ChunkedArray]) -> list[str]:
    """The order of ordered categories; [] when they have none, or not the same everywhere."""
    if not all(pa.types.is_dictionary(column.type) and column.type.ordered for column in columns):
        return []
    orders = {
        tuple(map(class_name, chunk.dictionary.to_pylist()))
        for column in columns
        for chunk in column.chunks
    }
    return list(orders.pop()) if len(orders) == 1 else []


def _numbered(numbers: NDArray[np.int64], seen: NDArray[np.int64], renumber: str) -> Labels:
    if renumber == "true":
        if len(seen) > MOST_CLASSES:
            raise UserError(
                f"there are {len(seen):,} different labels; choose another column with label=NAME"
            )
        return Labels(_positions(numbers, seen), tuple(str(number) for number in seen.tolist()), ())
    largest = int(seen[-1]) if len(seen) else -1
    if largest >= MOST_CLASSES:
        raise UserError(
            f"label {largest} is no class number; choose another column with label=NAME, or add "
            f"renumber=true to number the {len(seen):,} values that occur"
        )
    first = int(renumber == "auto" and largest > 1 and seen[0] == 1)
    classes = tuple(str(number) for number in range(first, largest + 1))
    notes = []
    if first:
        notes.append(
            f"labels start at 1: label 1 is class 0 of {len(classes)} (renumber=false keeps the "
            "numbers)"
        )
    if len(classes) > 100 and 2 * len(seen) < len(classes):
        notes.append(
            f"only {len(seen):,} of {len(classes):,} class numbers occur; renumber=true makes "
            "classes of these alone"
        )
    return Labels(np.where(numbers < 0, numbers, numbers - first), classes, tuple(notes))


def _positions(numbers: NDArray[np.int64], seen: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.where(numbers < 0, numbers, np.searchsorted(seen, numbers)).astype(np.int64)


def _whole(column: pa.ChunkedArray) -> NDArray[np.int64]:
    plain = _decoded(column).drop_null()
    if plain.type == pa.uint64() and len(plain) and (largest := pc.max(plain).as_py()) >= 2**63:
        raise UserError(
            f"label {largest} is no class number; choose another column with label=NAME"
        )
    # A copy, because Arrow's own memory is read-only.
    numbers: NDArray[np.int64] = plain.cast(pa.int64()).to_numpy().copy()
    return numbers


def _decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def label_kind(kind: pa.DataType) -> str:
    """`int`, `bool` or `text`; empty for a type that cannot hold labels."""
    if pa.types.is_dictionary(kind):
        return label_kind(kind.value_type)
    if pa.types.is_integer(kind):
        return "int"
    if pa.types.is_boolean(kind):
        return "bool"
    text = (
        pa.types.is_string,
        pa.types.is_large_string,
        getattr(pa.types, "is_string_view", pa.types.is_string),
    )
    return "text" if any(test(kind) for test in text) else ""


def _fitting(schema: pa.Schema, column: str, path: Path) -> str:
    if pa.types.is_null(kind := schema.field(column).type):
        raise NoLabelsError(f"column '{column}' of {path} is empty")
    if not label_kind(kind):
        raise UserError(
            f"{path}: column '{column}' holds {kind}, which cannot be the label; it should hold "
            "whole numbers, texts, booleans or categories"
        )
    return column


def no_labels(split: str, why: str, labelled: Sequence[str]) -> UserError:
    """The error for a split without labels, naming those that have some."""
    others = (
        f"use one that has labels: {listed(labelled)}" if labelled else "no split there has any"
    )
    return UserError(f"the split '{split}' carries no labels ({why}); {others}")
