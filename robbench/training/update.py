"""One step of the optimizer: the loss of a batch, its gradient, and what surrounds the two."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor

from robbench.core.device import widest
from robbench.core.errors import UserError
from robbench.losses.base import Loss
from robbench.models.base import Classifier
from robbench.training.awp import perturbed
from robbench.training.distributed import World
from robbench.training.recipe import Recipe
from robbench.training.step import TrainStep, require_values

WeightedSteps = list[tuple[float, TrainStep]]
"""Steps on the same rows, each with its weight in the loss."""


def zero_sums(device: torch.device) -> Tensor:
    """[3] zeros to add the results of `update` to."""
    return torch.zeros(3, dtype=widest(device), device=device)


def update(
    model: Classifier,
    loss: Loss,
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
    world: World,
    steps: WeightedSteps,
    rows: int,
) -> Tensor:
    """Take one optimizer step on this process' part of a batch of `rows` rows.

    Returns [3] sums over that part: loss values, forwards, backwards.
    """
    counted = [step for _, step in steps]
    with contextlib.ExitStack() as stack:
        if recipe.awp and counted[0].progress >= recipe.awp_warmup:
            notes = counted[0].notes.copy()
            first = counted[0].again(notes)
            ascent = [(weight, step.again(notes, beside=first)) for weight, step in steps]
            counted += [step for _, step in ascent]

            def objective() -> Tensor:
                return _values(loss, ascent).sum() / rows

            stack.enter_context(perturbed(model, recipe.awp, objective, world))
        values = _values(loss, steps)
        if len(steps) == 1:  # with mixup nothing has one label
            steps[0][1].log_adversarial_accuracy()
        optimizer.zero_grad(set_to_none=True)
        (values.sum() / rows).backward()  # type: ignore[no-untyped-call]
        world.add_gradients(model.parameters())
        if recipe.clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()
    total = values.detach().sum().to(widest(values.device))
    n_forward = total.new_tensor(sum(step.n_forward for step in counted))
    n_backward = total.new_tensor(sum(step.n_backward for step in counted))
    return torch.stack([total, n_forward, n_backward])


def _values(loss: Loss, steps: WeightedSteps) -> Tensor:
    """[B] weighted sum of the loss over the steps."""
    y = steps[0][1].y
    if not len(y):  # a process without rows still takes part in every exchange
        return torch.zeros(0, device=y.device, requires_grad=True)
    name = f"loss {type(loss).__qualname__} returned"
    values = [weight * require_values(name, loss(step), y) for weight, step in steps]
    total = torch.stack(values).sum(0)
    if not total.requires_grad:
        raise UserError(
            f"loss {type(loss).__qualname__}: its values have no gradient: compute them from "
            "step.out, step.clean or step.at(x), without detach"
        )
    return total
