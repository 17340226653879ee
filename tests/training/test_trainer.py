"""The loop: what it refuses, what it measures, and that a state carries everything."""

from __future__ import annotations

import dataclasses
import io
import math

import pytest
import torch

from robbench.attacks.pgd import PGD
from robbench.core.errors import RunError
from robbench.losses.base import Loss
from robbench.losses.cross_entropy import CrossEntropy
from robbench.losses.differential import Differential
from robbench.testing import judge, toy_split
from robbench.training.inner import Inner
from robbench.training.state import restore_trainer, trainer_state
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
    """A run of one step whose loss was finite but whose weights are not ends in a RunError, not in a saved model of NaN."""
    trainer = Trainer(
        plain_model(), CrossEntropy(), split, validation, recipe(lr=1e38), inner=None, threat=threat
    )
    with pytest.raises(RunError, match="epoch 1"):
        trainer.run_epoch(lambda _: None)


def test_validation_numbers_are_counted_by_hand(split, validation, threat, recipe, norm_model):
    """Clean accuracy and margin equal a plain evaluation in eval mode; robust ones are those of PGD-10 attacking that model."""
    model = norm_model()
    trainer = Trainer(
        model,
        CrossEntropy(),
        split,
        validation,
        recipe(lr=0.5, epochs=8),
        inner=None,
        threat=threat,
    )
    for _ in range(8):
        row = trainer.run_epoch(lambda _: None)
    model.eval()
    x, y = validation.images.float() / 255, validation.labels
    with torch.no_grad():
        logits = model(x)
    others = logits.masked_fill(torch.nn.functional.one_hot(y, 4).bool(), -math.inf).amax(1)
    margins = logits.gather(1, y[:, None])[:, 0] - others
    assert row["clean_accuracy"] == pytest.approx(float((margins > 0).float().mean()))
    assert row["clean_margin"] == pytest.approx(float(margins.mean()), abs=1e-5)
    verdicts = judge("validation", model, validation, threat, seed=3, attack=PGD(steps=10))
    assert row["robust_accuracy"] == sum(not v.adversarial for v in verdicts) / len(verdicts)
    assert row["adv_margin"] == pytest.approx(
        sum(v.adv_margin for v in verdicts) / len(verdicts), abs=1e-5
    )
    assert row["adv_margin"] < row["clean_margin"]
    assert (
        row["clean_accuracy"] > row["robust_accuracy"]
    )  # the attack of validation does find something here


def test_validation_leaves_the_model_training(split, validation, threat, recipe, norm_model):
    """Validating changes no buffer, no weight and no mode."""
    model = norm_model().train()
    trainer = Trainer(model, CrossEntropy(), split, validation, recipe(), inner=None, threat=threat)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    trainer.validate()
    assert all(module.training for module in model.modules())
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


def test_no_validation_samples_give_nan(split, threat, recipe, plain_model):
    """Without validation samples nothing is measured: NaN, not zero."""
    empty = split.take(torch.arange(0))
    row = Trainer(
        plain_model(), CrossEntropy(), split, empty, recipe(), inner=None, threat=threat
    ).run_epoch(lambda _: None)
    assert all(
        math.isnan(row[name])
        for name in ("clean_accuracy", "robust_accuracy", "clean_margin", "adv_margin")
    )


def test_forwards_and_backwards_of_an_epoch(split, validation, threat, recipe, plain_model):
    """The row counts sample evaluations of training: (N + 1) for N inner steps, over all batches."""
    inner = Inner(PGD(steps=4), threat)
    trainer = Trainer(
        plain_model(),
        CrossEntropy(),
        split,
        validation,
        recipe(batch_size=10),
        inner=inner,
        threat=threat,
    )
    row = trainer.run_epoch(lambda _: None)
    assert (row["n_forward"], row["n_backward"]) == (5 * 24, 5 * 24)


def test_train_loss_is_the_mean_over_samples(split, validation, threat, recipe, plain_model):
    """With a last batch of another size the epoch's loss is still the mean over samples, and `watch` sees it grow."""
    trainer = Trainer(
        plain_model(),
        CrossEntropy(),
        split,
        validation,
        recipe(batch_size=10, lr=1e-30),
        inner=None,
        threat=threat,
    )
    seen = []
    row = trainer.run_epoch(lambda p: seen.append((p.samples, p.total, float(p.loss))))
    x = split.images.float() / 255
    expected = float(torch.nn.functional.cross_entropy(plain_model()(x), split.labels).detach())
    assert row["train_loss"] == pytest.approx(expected, abs=1e-6)
    assert [(samples, total) for samples, total, _ in seen] == [(10, 24), (20, 24), (24, 24)]
    assert seen[-1][2] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_a_state_carries_everything(split, validation, threat, recipe, norm_model, optimizer):
    """Two epochs, or one, a state through a file, a fresh trainer and one more: the same bits (dropout and momentum included)."""
    inner = Inner(PGD(steps=2), threat)

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
            norm_model(), CrossEntropy(), split, validation, settings, inner=inner, threat=threat
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


def test_the_head_is_fitted_on_all_training_features(threat, recipe, validation):
    """After an epoch of differential training the threshold is the extreme rule's on the training scores in eval mode."""
    from torch import nn

    from robbench.models.base import Classifier

    split, held_out = toy_split(300, 2), toy_split(10, 2, seed=1)
    torch.manual_seed(0)
    body = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Dropout(0.5))
    model = Classifier(nn.Identity(), body, nn.Linear(8, 2), features=8, classes=2).with_head(
        "score"
    )
    loss = Differential(bias="extreme")
    trainer = Trainer(
        model, loss, split, held_out, recipe(batch_size=50, lr=0.05), inner=None, threat=threat
    )
    trainer.run_epoch(lambda _: None)
    model.eval()
    with torch.no_grad():
        scores = model.features(split.images.float() / 255) @ model.head.weight[0]
    expected = -(scores[split.labels == 1].min() + scores[split.labels == 0].max()) / 2
    assert float(model.head.bias) == pytest.approx(float(expected), abs=1e-6)
    assert float(model.head.bias) != 0


def test_a_loss_that_is_one_number_is_refused(split, validation, threat, recipe, plain_model):
    """A loss that forgot reduction="none" is told so before a step is taken with it."""

    class Mean(CrossEntropy):
        def __call__(self, step):
            return super().__call__(step).mean()

    trainer = Trainer(plain_model(), Mean(), split, validation, recipe(), inner=None, threat=threat)
    with pytest.raises(RunError, match="one value per sample"):
        trainer.run_epoch(lambda _: None)
