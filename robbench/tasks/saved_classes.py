"""A saved model on data whose classes are some of its own, spelled or ordered otherwise."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from robbench.core.errors import UserError
from robbench.core.freeze import frozen
from robbench.data.base import Split, class_difference
from robbench.engine.flags import Flag, notes
from robbench.models.external import External
from robbench.models.outputs.class_names import match
from robbench.models.outputs.options import OutputOptions, Reading


def fit_classes(
    model: nn.Module, known: Sequence[str], split: Split, names: tuple[str, str]
) -> tuple[nn.Module, list[Flag]]:
    """The model for the classes of the data, by their names; a flag says where these differ.

    known: the classes it was trained on. names: what to call model and data. Classes that have only
    numbers are matched among those of the same data. Raises UserError where one is not known.
    """
    if list(split.classes) == list(known):
        return model, []
    numbered = all(name.isdecimal() for name in split.classes)
    try:
        if numbered and list(split.whole) != list(known):
            raise UserError("numbers")
        found = match(split.classes, known)
    except UserError:
        apart = class_difference(known, split.classes, names)
        raise UserError(f"{names[0]} was trained on other classes: {apart}") from None
    if found == tuple(range(len(known))):
        apart = class_difference(known, split.classes, names)
        return model, notes("interface", [f"classes are equal but for their spelling: {apart}"])
    options = OutputOptions(classes=tuple(known))
    wrapped = External(model, len(split.classes), Reading(options, split.classes))
    x = split.pixels(slice(0, 2))
    with frozen(wrapped):
        wrapped.fit_interface(torch.cat([x, x])[:2])
    return wrapped, []
