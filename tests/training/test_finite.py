"""Training that is no longer finite ends with an error."""

from __future__ import annotations

import dataclasses
import math

import pytest

from robbench.core.errors import RunError
from robbench.losses.base import Loss
from robbench.losses.cross_entropy import CrossEntropy
from robbench.training.trainer import Trainer


@dataclasses.dataclass(frozen=True, kw_only=True)
class IllFrom(Loss):
    """Cross-entropy until an epoch, then a value that is no number."""

    epoch: int
    value: float = math.nan

    def __call__(self, step):
        values = CrossEntropy()(step)
        return values * self.value if step.epoch >= self.epoch else values


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_names_its_epoch(
    split, validation, threat, recipe, plain_model, value
):
    """NaN or infinity in the third epoch is a RunError that says epoch 3 and what to do."""
    trainer = Trainer(
        plain_model(),
        IllFrom(epoch=2, value=value),
        split,
        validation,
        recipe(epochs=5),
        inner=None,
        threat=threat,
    )
    for _ in range(2):
        trainer.run_epoch(lambda _: None)
    with pytest.raises(RunError) as error:
        trainer.run_epoch(lambda _: None)
    assert "epoch 3" in str(error.value)
    assert "--lr" in str(error.value)
    assert error.value.exit_code == 3


def test_weights_that_diverge_in_the_last_step_are_noticed(
    split, validation, threat, recipe, plain_model
):
    """A run of one step whose loss was finite but whose weights are not ends in a RunError, not in
    a saved model of NaN.
    """
    trainer = Trainer(
        plain_model(), CrossEntropy(), split, validation, recipe(lr=1e38), inner=None, threat=threat
    )
    with pytest.raises(RunError, match="epoch 1"):
        trainer.run_epoch(lambda _: None)
