"""Validation: its numbers by hand, and that it leaves no trace."""

from __future__ import annotations

import math

import pytest
import torch

from robbench.attacks.pgd import PGD
from robbench.losses.cross_entropy import CrossEntropy
from robbench.testing import judge
from robbench.training.trainer import Trainer


def test_validation_numbers_are_counted_by_hand(split, validation, threat, recipe, norm_model):
    """Clean accuracy and margin equal a plain evaluation in eval mode.

    Robust ones are those of PGD-10 attacking that model.
    """
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
    assert row["predicted_classes"] == len(set(logits.argmax(1).tolist())) > 1
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


def test_a_constant_prediction_is_of_one_class(split, validation, threat, recipe, norm_model):
    """Whatever it sees; its accuracy, clean and robust, is the share of that class."""
    model = norm_model()
    for weight in model.parameters():
        torch.nn.init.zeros_(weight)
    trainer = Trainer(model, CrossEntropy(), split, validation, recipe(), inner=None, threat=threat)
    found = trainer.validate()
    assert found.predicted_classes == 1
    share = float((validation.labels == 0).float().mean())
    assert found.clean_accuracy == found.robust_accuracy == pytest.approx(share)


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
    assert row["predicted_classes"] is None
