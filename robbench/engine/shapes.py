"""The shapes in which the models of one run are evaluated, as measured on all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from robbench.core.freeze import frozen
from robbench.core.tiles import Model, RowEquality, Tiles, batch_of, largest_tile, row_equality
from robbench.data.base import Split
from robbench.engine.counter import Counter


def equality_of(models: Iterable[Model], x: Tensor) -> RowEquality:
    """What was measured of all of some models, near inputs x [n,*]; they are left as they were.

    A model behind a Counter is asked directly: what is measured is no query of an attack.
    """
    found = RowEquality(largest_tile(x.device, x.shape[1:]).step, equal=True)
    for model in map(_uncounted, models):
        if isinstance(model, nn.Module):
            with frozen(model):
                found = found.both(row_equality(model, x))
        else:
            found = found.both(row_equality(model, x))
    return found


def _uncounted(model: Model) -> Model:
    while isinstance(model, Counter):
        model = model.model
    return model


def _largest(models: Iterable[Model], device: torch.device, shape: Sequence[int]) -> Tiles:
    """The largest tile of some models, of which some may take batches of one size only."""
    batch = max((batch_of(_uncounted(model)) for model in models), default=1)
    return largest_tile(device, shape, batch)


def tiles_of(models: Iterable[Model], x: Tensor) -> Tiles:
    """The largest tile in which some models give equal answers near inputs x [n,*], or might."""
    models = list(models)
    return _largest(models, x.device, x.shape[1:])._replace(step=equality_of(models, x).step)


def shapes_of(models: Iterable[Model], split: Split, width: int) -> tuple[Tiles, RowEquality]:
    """The tiles for `width` rows in flight, and what was measured near a split's first samples."""
    models = list(models)
    largest = _largest(models, split.labels.device, split.images.shape[1:])
    equality = equality_of(models, split.pixels(slice(0, largest.rows)))
    return largest._replace(step=equality.step).narrowed(width), equality
