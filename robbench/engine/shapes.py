"""The shapes in which the models of one run are evaluated, as measured on all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from robbench.core.freeze import frozen
from robbench.core.tiles import (
    Model,
    RowEquality,
    Tiles,
    agrees,
    batch_of,
    largest_tile,
    row_equality,
)
from robbench.data.base import Split
from robbench.engine.counter import Counter
from robbench.engine.direct import Direct


def equality_of(
    models: Iterable[Model], x: Tensor, *, rows: int | None = None, gradients: bool = True
) -> RowEquality:
    """What was measured of all of some models, near inputs x [n,*]; they are left as they were.

    rows, gradients: of what is asked of them, as of `row_equality`. A model behind a Counter is
    asked itself: what is measured is no query of an attack.
    """
    models, largest = [plain(model) for model in models], largest_tile(x.device, x.shape[1:])
    found = RowEquality(largest.step, equal=True)
    for model in models:
        with _frozen(model):
            found = found.both(row_equality(model, x, rows=rows, gradients=gradients))
    # Where one needs a larger step, the others are asked as many rows too.
    padded = None if rows is None else largest._replace(step=found.step).padded(rows)
    return found if padded == rows else equality_of(models, x, rows=padded, gradients=gradients)


def holds(model: Model, x: Tensor, rows: int, *, gradients: bool) -> bool:
    """Whether a model gives so many rows the answers of a full tile; likewise."""
    model = plain(model)
    with _frozen(model):
        return agrees(model, x, rows, gradients=gradients)


def _frozen(model: Model) -> AbstractContextManager[None]:
    return frozen(model) if isinstance(model, nn.Module) else nullcontext()


def plain(model: Model) -> Model:
    """The model that gives the answers, behind what counts its calls or spares a part of them."""
    while isinstance(model, Counter | Direct):
        model = model.whole[0] if isinstance(model, Direct) else model.model
    return model


def _largest(models: Iterable[Model], device: torch.device, shape: Sequence[int]) -> Tiles:
    """The largest tile of some models, of which some may take batches of one size only."""
    batch = max((batch_of(plain(model)) for model in models), default=1)
    return largest_tile(device, shape, batch)


def tiles_of(models: Iterable[Model], x: Tensor) -> Tiles:
    """The largest tile in which some models give equal answers near inputs x [n,*], or might."""
    models = list(models)
    return _largest(models, x.device, x.shape[1:])._replace(step=equality_of(models, x).step)


def shapes_of(
    models: Iterable[Model], split: Split, width: int, *, gradients: bool = True
) -> tuple[Tiles, RowEquality]:
    """The tiles for `width` rows in flight, and what was measured near a split's first samples."""
    models, rows = list(models), min(width, len(split))
    largest = _largest(models, split.labels.device, split.images.shape[1:])
    x = split.pixels(slice(0, largest.rows))
    equality = equality_of(models, x, rows=rows, gradients=gradients)
    return largest._replace(step=equality.step).narrowed(rows), equality
