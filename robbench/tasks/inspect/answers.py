"""What a model answers to a few samples: how many it gets right, and whether another form fits."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from robbench.analysis.inspected import Finding
from robbench.core.device import deterministic
from robbench.core.errors import RobbenchError
from robbench.core.freeze import frozen
from robbench.core.tiles import largest_tile
from robbench.data.base import Split
from robbench.data.subset import select
from robbench.engine.oracle import forward_tiles
from robbench.metrics.class_order import other_order
from robbench.metrics.input_form import better_form
from robbench.models.external import External
from robbench.models.input_shapes import shapes_taken, takes
from robbench.models.normalisation import Normalisation, find_normalisations
from robbench.objectives import answered
from robbench.tasks.inspect import findings
from robbench.tasks.inspect.target import Target

SAMPLES = 128  # are looked at, of all classes alike


class Answers(NamedTuple):
    """What a model answers to the samples looked at. right: [n] bool, None without labels."""

    normalisations: list[Normalisation]
    right: Tensor | None
    found: list[Finding]


def looked_at(split: Split) -> Split:
    """The samples that are looked at."""
    rows = select([f"stratified={SAMPLES}"], split.labels.cpu().numpy(), split.classes).rows
    return split.take(torch.from_numpy(rows).to(split.labels.device))


def outputs_of(model: nn.Module, looked: Split) -> Tensor | None:
    """Outputs [n,K'] for the samples; None where the model gives no matrix of them."""
    x = looked.pixels(slice(None))
    try:
        with frozen(model), deterministic():
            z: Any = forward_tiles(model, x, largest_tile(x.device, x.shape[1:]))
    except RobbenchError:
        return None
    except Exception:  # whatever a foreign module raises: why attacks refuse it is known
        return None
    fits = isinstance(z, Tensor) and z.ndim == 2 and len(z) == len(x) and z.is_floating_point()
    return z if fits else None


def taken_shapes(target: Target, logits: Tensor | None) -> list[tuple[int, ...]]:
    """Shapes that a model takes which does not answer the samples."""
    model, shape = target.subject.model, tuple(target.subject.split.images.shape[1:])
    body = model.body if isinstance(model, External) else model
    if logits is not None or takes(body, shape):
        return []
    return shapes_taken(body, first=[findings.channels_last(shape)])


def answers_of(target: Target, looked: Split, logits: Tensor) -> Answers:
    """What the outputs [n,K'] say; of noise, or without one for each class, nothing of accuracy."""
    model, x, y = target.subject.model, looked.pixels(slice(None)), looked.labels
    k = len(looked.classes)
    tiles = largest_tile(x.device, x.shape[1:])
    normalisations = find_normalisations(model, x[:2])
    if target.data is None or logits.shape[1] != target.subject.width:
        return Answers(normalisations, None, [])
    predicted = _predicted(logits)
    right = predicted == y
    front = next((one for one in normalisations if one.front), None)
    with frozen(model), deterministic():
        better = better_form(
            lambda other: _predicted(forward_tiles(model, other, tiles)),
            x,
            y,
            right,
            front=None if front is None else (front.mean, front.std),
        )
    if better is not None:
        return Answers(normalisations, right, [findings.other_form(better, front)])
    known = (predicted >= 0) & (predicted < k)  # neither a rejection nor outside of the classes
    order = other_order(predicted[known].cpu(), y[known].cpu(), k)
    if order is None:
        return Answers(normalisations, right, [])
    correct = int((predicted == torch.tensor(order, device=y.device)[y]).sum())
    finding = findings.class_order(order, looked.classes, correct, len(y))
    return Answers(normalisations, right, [finding])


def _predicted(logits: Tensor) -> Tensor:
    """[n] the class of the largest logit; -1 where the model has no answer."""
    return logits.argmax(1).where(answered(logits), -1)
