"""Subsets in brackets: `[airplane,horse]`, `[first=100]`, `[stratified=100]`, left to right."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robbench.core.errors import UserError, nearest
from robbench.core.spec import require_plain

_BRACKETS = re.compile(r"(.*?)((?:\[[^\[\]]*\])*)", re.DOTALL)
_COUNTS = ("first", "stratified")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which rows of a table are used [n], under which labels [n], 0..len(classes)-1."""

    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]


def split_subsets(spec: str) -> tuple[str, list[str]]:
    """Split `mnist[3,8][first=50]` into (`mnist`, [`3,8`, `first=50`]). UserError if malformed."""
    text = spec.strip()
    require_plain(text)
    if text.count("[") != text.count("]"):
        raise UserError(f"brackets do not match in '{spec}'")
    match = _BRACKETS.fullmatch(text)
    assert match is not None  # the first group alone matches any text
    return match[1].strip(), [part.strip() for part in match[2][1:-1].split("][")] if match[
        2
    ] else []


def limit_subset(limit: int | str) -> str:
    """The subset of a limit: `first=N` for N; `first=N` and `stratified=N` stay as they are."""
    text = str(limit).strip()
    subset = text if "=" in text else f"first={text}"
    if subset.partition("=")[0].strip() not in _COUNTS:
        raise UserError(f"limit '{limit}' should be N, first=N or stratified=N")
    _count(subset)
    return subset


def select(
    subsets: Sequence[str], labels: NDArray[np.int64], classes: tuple[str, ...]
) -> Selection:
    """Apply subsets to a table's labels [n]. UserError for a malformed or empty one."""
    selection = Selection(
        rows=np.arange(len(labels), dtype=np.int64), labels=labels, classes=classes
    )
    for subset in subsets:
        key = subset.partition("=")[0].strip()
        if key == "first":
            selection = _take(selection, np.arange(min(_count(subset), len(selection.rows))))
        elif key == "stratified":
            selection = _take(selection, _round_robin(selection.labels)[: _count(subset)])
        else:
            selection = _choose_classes(selection, subset)
        if len(selection.rows) == 0:
            raise UserError(
                f"the subset [{subset}] selects nothing: name a class that there is, or more "
                "samples"
            )
    return selection


def few_classes(
    subsets: Sequence[str], labels: NDArray[np.int64], classes: tuple[str, ...]
) -> list[str]:
    """A sentence where the first samples, of data sorted by class, lack classes."""
    counted = {subset: subset.partition("=")[0].strip() in _COUNTS for subset in subsets}
    if not any(counted.values()):
        return []
    whole = select([subset for subset in subsets if not counted[subset]], labels, classes).labels
    every = np.unique(whole)
    chosen = select(subsets, labels, classes)
    taken, count = np.unique(chosen.labels), len(chosen.rows)
    if len(taken) >= min(len(every), count) or not _in_class_order(whole):
        return []
    what = f"one class ({chosen.classes[taken[0]]})" if len(taken) == 1 else f"{len(taken)} classes"
    return [
        f"all {count} samples are of {what}, the data have {len(every)}; the limit "
        f"stratified={count} takes of every class"
    ]


def _in_class_order(labels: NDArray[np.int64]) -> bool:
    """Whether classes are contiguous, or neighbours differ at most half as often as at random."""
    sizes = np.unique(labels, return_counts=True)[1]
    changes = np.count_nonzero(np.diff(labels))
    return bool(
        changes < len(sizes)
        or 2 * changes <= len(labels) * (1 - np.square(sizes / len(labels)).sum())
    )


def _take(selection: Selection, index: NDArray[np.int64]) -> Selection:
    return Selection(
        rows=selection.rows[index], labels=selection.labels[index], classes=selection.classes
    )


def _round_robin(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    # The first row of every class, then the second of every class, ...: any prefix is as even as
    # the data allow.
    by_class = np.argsort(labels, kind="stable")
    starts = np.concatenate([[0], np.flatnonzero(np.diff(labels[by_class])) + 1])
    counts = np.diff([*starts, len(labels)])
    turn = np.empty(len(labels), np.int64)
    turn[by_class] = np.arange(len(labels)) - np.repeat(starts, counts)
    return np.lexsort((np.arange(len(labels)), turn))


def _choose_classes(selection: Selection, subset: str) -> Selection:
    chosen = [_class_index(name.strip(), selection.classes) for name in subset.split(",")]
    if len(set(chosen)) < len(chosen):
        raise UserError(f"the subset [{subset}] names a class twice: leave one out")
    if len(chosen) < 2:
        raise UserError(
            f"the subset [{subset}] has one class; name at least two, or write [first=N] or "
            "[stratified=N]"
        )
    renumber = np.full(len(selection.classes), -1)
    renumber[chosen] = np.arange(len(chosen))
    labels = renumber[selection.labels]
    kept = np.flatnonzero(labels >= 0)
    return Selection(
        rows=selection.rows[kept],
        labels=labels[kept],
        classes=tuple(selection.classes[i] for i in chosen),
    )


def _class_index(name: str, classes: tuple[str, ...]) -> int:
    if (count := classes.count(name)) > 1:
        raise UserError(f"'{name}' is the name of {count} classes; give them other names")
    if name in classes:
        return classes.index(name)
    # Where class names are numbers themselves, a number is a name: after [3,8] there is no class 0.
    if (
        name.isdecimal()
        and len(name) < 10
        and int(name) < len(classes)
        and not any(known.isdecimal() for known in classes)
    ):
        return int(name)
    if "=" in name:
        raise UserError(
            f"malformed subset [{name}]: write [first=N], [stratified=N] or class names"
        )
    raise UserError(f"unknown class '{name}'{nearest(name, classes)}")


def _count(subset: str) -> int:
    text = subset.partition("=")[2].strip()
    number = int(text) if text.isdecimal() and len(text) < 10 else 0
    if number < 1:
        raise UserError(f"'{subset}' should give a whole number of at least 1, of 9 digits at most")
    return number
