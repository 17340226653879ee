"""One step of the optimizer: clipping, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from robbench.core.errors import UserError
from robbench.losses.cross_entropy import CrossEntropy
from robbench.training.trainer import Trainer


@pytest.mark.parametrize("clip", [0.01, 0.3, 1e6])
def test_clipping_bounds_the_whole_gradient(split, validation, threat, recipe, plain_model, clip):
    """A step is lr * g * min(1, clip / ||g||) with the norm of all weights together.

    A large bound changes nothing.
    """
    settings = recipe(lr=0.1, clip=clip)
    trainer = Trainer(
        plain_model(), CrossEntropy(), split, validation, settings, inner=None, threat=threat
    )
    trainer.run_epoch(lambda _: None)
    model = plain_model()
    grads = torch.autograd.grad(
        F.cross_entropy(model(split.images.float() / 255), split.labels), list(model.parameters())
    )
    norm = sum(float(grad.square().sum()) for grad in grads) ** 0.5
    assert 0.3 < norm < 1e6
    for ours, weight, grad in zip(
        trainer.model.parameters(), model.parameters(), grads, strict=True
    ):
        assert torch.allclose(ours, weight - 0.1 * grad * min(1, clip / norm), rtol=0, atol=1e-6)


def test_a_loss_that_is_one_number_is_refused(split, validation, threat, recipe, plain_model):
    """A loss that forgot reduction="none" is told so before a step is taken with it."""

    class Mean(CrossEntropy):
        def __call__(self, step):
            return super().__call__(step).mean()

    trainer = Trainer(plain_model(), Mean(), split, validation, recipe(), inner=None, threat=threat)
    with pytest.raises(UserError, match="one value per sample"):
        trainer.run_epoch(lambda _: None)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (lambda step: 3, "Own returned int, not one value per sample"),
        (lambda step: None, "Own returned NoneType, not one value per sample"),
        (lambda step: step.y.float(), "Own: its values have no gradient"),
        (lambda step: step.out.logits.detach().sum(1), "Own: its values have no gradient"),
    ],
)
def test_what_is_no_loss_value_is_refused(
    split, validation, threat, recipe, plain_model, values, words
):
    """Said of the loss, before a step is taken with it."""

    class Own(CrossEntropy):
        def __call__(self, step):
            return values(step)

    trainer = Trainer(plain_model(), Own(), split, validation, recipe(), inner=None, threat=threat)
    before = [weight.clone() for weight in trainer.model.parameters()]
    with pytest.raises(UserError, match=words):
        trainer.run_epoch(lambda _: None)
    assert all(map(torch.equal, before, trainer.model.parameters()))


@pytest.mark.parametrize("value", [torch.ones(3), torch.tensor(1.0), 1.0])
def test_what_is_logged_is_of_each_sample(split, validation, threat, recipe, plain_model, value):
    """The mean over the epoch weights all samples alike, so that other shapes are refused."""

    class Own(CrossEntropy):
        def __call__(self, step):
            step.log(mine=value)
            return super().__call__(step)

    trainer = Trainer(plain_model(), Own(), split, validation, recipe(), inner=None, threat=threat)
    with pytest.raises(UserError, match=r"step\.log of mine got .*, not one value per sample"):
        trainer.run_epoch(lambda _: None)
