"""Labels in arrays: class numbers, or texts that become classes by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robbench.core.errors import UserError
from robbench.core.spec import split_items
from robbench.data.image_files import class_name, in_order
from robbench.data.labels import MOST_CLASSES


def class_names(text: str) -> tuple[str, ...]:
    """The classes of an option: how many there are (`10`), or their names (`no,yes`); () if empty.

    UserError for fewer than two.
    """
    names = [name for name in split_items(text) if name] if text else []
    if len(names) == 1 and names[0].isdecimal() and int(names[0]) <= MOST_CLASSES:
        names = [str(number) for number in range(int(names[0]))]
    if text and (len(names) < 2 or len(set(names)) < len(names)):
        raise UserError(f"classes={text} should be how many there are, or at least two names")
    return tuple(names)


def number_array(
    labels: NDArray[Any], others: Sequence[NDArray[Any]], names: tuple[str, ...]
) -> tuple[NDArray[np.int64], tuple[str, ...], tuple[str, ...]]:
    """Class numbers [N], class names, notes, of labels [N] or [N,1]; others: of other splits.

    Texts become classes by name, over all splits together, and so does all where any split has
    texts; booleans are false and true; whole numbers, also as floats, count from 0. `names`: the
    classes, where they were given. UserError for other labels.
    """
    every = [_flat(one) for one in (labels, *others)]
    mine = every[0]
    if any(one.dtype.kind in "US" for one in every):
        texts = [[class_name(str(_text(value))) for value in one] for one in every]
        classes = names or tuple(in_order(name for one in texts for name in one))
        place = {name: number for number, name in enumerate(classes)}
        if strange := next((name for name in texts[0] if name not in place), None):
            raise UserError(f"label '{strange}' is none of the classes {', '.join(classes[:9])}")
        return (
            np.array([place[name] for name in texts[0]], np.int64),
            classes,
            () if names else (f"classes in their order: {', '.join(classes[:20])}",),
        )
    if len({one.dtype == np.bool_ for one in every if one.size}) > 1:
        raise UserError("labels are booleans in one split and numbers in another: write them alike")
    if mine.dtype == np.bool_:
        return mine.astype(np.int64), names or ("false", "true"), ()
    numbers = [_whole(one) for one in every]
    largest = max(int(one.max(initial=0)) for one in numbers)
    if largest >= MOST_CLASSES:
        raise UserError(f"label {largest} is no class number")
    return numbers[0], names or tuple(map(str, range(max(largest + 1, 2)))), ()


def _flat(labels: NDArray[Any]) -> NDArray[Any]:
    return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels


def _text(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _whole(labels: NDArray[Any]) -> NDArray[np.int64]:
    if labels.ndim != 1:
        raise UserError(
            f"labels should be one class a sample, not of shape {labels.shape}; one-hot labels "
            "need argmax(1)"
        )
    if labels.dtype.kind not in "iuf" or not bool((labels == np.floor(labels)).all()):
        raise UserError(f"labels should be whole numbers or texts, not {labels.dtype}")
    return labels.astype(np.int64)
