"""A state carries everything that a resumed run needs."""

from __future__ import annotations

import io

import pytest
import torch

from robbench.attacks.pgd import PGD
from robbench.losses.cross_entropy import CrossEntropy
from robbench.testing import toy_split
from robbench.training.inner import Inner
from robbench.training.state import restore_trainer, trainer_state
from robbench.training.trainer import Generated, Trainer


@pytest.mark.parametrize(
    ("optimizer", "mixed"), [("sgd", False), ("adam", False), ("adamw", False), ("sgd", True)]
)
def test_a_state_carries_everything(
    split, validation, threat, recipe, norm_model, optimizer, mixed
):
    """Two epochs, or one, a state through a file, a fresh trainer and one more: the same bits
    (dropout and momentum included), also with generated data, which come in another order.
    """
    inner = Inner(PGD(steps=2), threat)
    generated = Generated(toy_split(40, 4, (1, 6, 6), seed=2), 0.6) if mixed else None

    def trainer():
        settings = recipe(
            epochs=2,
            batch_size=10,
            optimizer=optimizer,
            lr=0.01,
            momentum=0.9,
            schedule="cosine",
            augment="crop-flip",
        )
        return Trainer(
            norm_model(),
            CrossEntropy(),
            split,
            validation,
            settings,
            inner=inner,
            threat=threat,
            generated=generated,
        )

    straight, first, second = trainer(), trainer(), trainer()
    rows = [straight.run_epoch(lambda _: None) for _ in range(2)]
    first.run_epoch(lambda _: None)
    file = io.BytesIO()
    torch.save(trainer_state(first), file)
    file.seek(0)
    torch.manual_seed(99)  # whatever the resumed process did before
    restore_trainer(second, torch.load(file, weights_only=True))
    again = second.run_epoch(lambda _: None)
    assert all(
        torch.equal(tensor, second.model.state_dict()[key])
        for key, tensor in straight.model.state_dict().items()
    )
    assert {**again, "seconds": 0} == {**rows[1], "seconds": 0}
