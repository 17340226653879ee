"""The class that each sample has to reach under a targeted threat model.

A class is one for all samples; `random` is drawn for each from the seed and its id, never its
label; `column:NAME` is read from the data. The least likely class depends on the model: the engine
sets it (`engine/pool.py`). Samples that are of their target class already cannot be attacked: they
are left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from robbench.core import keyed
from robbench.core.errors import UserError, nearest
from robbench.core.threat_text import COLUMN, LEAST_LIKELY, RANDOM
from robbench.data.base import Split

_STREAM = 0x7A26E7  # of the random targets, apart from those of attacks


class Aimed(NamedTuple):
    """Samples with the classes to reach, the target's canonical text, and how many are left out."""

    split: Split
    target: str
    n_left_out: int


def aim(split: Split, target: str, seed: int) -> Aimed:
    """Give the samples of a split their target classes, and leave out those that are of them.

    Raises UserError for a class or column that there is none of, and where no sample is left.
    """
    if target == LEAST_LIKELY:
        return Aimed(split, target, 0)
    if target == RANDOM:
        targets = _random(split.ids, split.labels, len(split.classes), seed)
        return Aimed(dataclasses.replace(split, targets=targets), target, 0)
    if target.startswith(COLUMN) and target not in split.classes:
        targets = _of_column(split, target.removeprefix(COLUMN))
    else:
        index = class_index(target, split.classes)
        target, targets = split.classes[index], torch.full_like(split.labels, index)
    kept = (targets != split.labels).nonzero().flatten()
    if not len(kept):
        raise UserError(
            f"target {target}: all {len(split)} samples are of that class already; choose another"
        )
    aimed = dataclasses.replace(split, targets=targets).take(kept)
    return Aimed(aimed, target, len(split) - len(kept))


def class_index(text: str, classes: Sequence[str]) -> int:
    """The class of a name or, where no name is a number, of a number.

    UserError for neither, and for a name that several classes have.
    """
    if (count := classes.count(text)) > 1:
        raise UserError(f"target '{text}' is the name of {count} classes; give them other names")
    if text in classes:
        return classes.index(text)
    if not text.isdecimal():
        raise UserError(
            f"target '{text}' is no class of the data{nearest(text, classes)}; "
            f"give a class, {LEAST_LIKELY}, {RANDOM} or {COLUMN}NAME"
        )
    counted = list(classes) == [*map(str, range(len(classes)))]
    if not counted and any(name.isdecimal() for name in classes):
        raise UserError(f"target {text} is no class of the data: there are {', '.join(classes)}")
    if counted or len(text) > 9 or int(text) >= len(classes):
        raise UserError(
            f"target {text} is out of range: the data has {len(classes)} classes, "
            f"0 to {len(classes) - 1}"
        )
    return int(text)


def _random(ids: Tensor, labels: Tensor, classes: int, seed: int) -> Tensor:
    """[N] drawn evenly from the other classes, for each sample from its id."""
    u = keyed.uniform(keyed.fold(keyed.fold(ids, seed), _STREAM), (1,), dtype=torch.float64)[:, 0]
    drawn = (u * (classes - 1)).long()
    return drawn + (drawn >= labels)


def _of_column(split: Split, name: str) -> Tensor:
    """[N] the classes that a column of the data names, by name or by number."""
    if split.columns is None:
        raise UserError(f"target {COLUMN}{name}: data '{split.name}' has no further columns")
    values = split.columns(name)
    found = [_class_of(values[i], split, name) for i in split.ids.tolist()]
    return torch.tensor(found, dtype=torch.int64, device=split.labels.device)


def _class_of(value: Any, split: Split, name: str) -> int:
    """A value is a name, or a number among all classes of the data, subset or not."""
    whole = split.whole or split.classes
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise UserError(
            f"target {COLUMN}{name} holds {value!r:.40}; it should be the name or number of a class"
        )
    if isinstance(value, int) and 0 <= value < len(whole):
        value = whole[value]
    try:
        return class_index(str(value), split.classes)
    except UserError as error:
        raise UserError(f"column {name}: {error}") from None
