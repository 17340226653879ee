"""The head is fitted to training features, also that of an averaged model."""

from __future__ import annotations

import pytest
import torch

from robbench.losses.differential import Differential
from robbench.models.heads import build_head
from robbench.testing import toy_split
from robbench.training.trainer import Trainer


def test_the_head_is_fitted_on_all_training_features(threat, recipe, validation):
    """After an epoch of differential training the threshold is the extreme rule's on the training
    scores in eval mode.
    """
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


def test_the_heads_bias_is_fitted_to_the_average(threat, recipe, plain_model):
    """The threshold of differential training is that of the averaged features, in the averaged
    model.
    """
    split, held_out = toy_split(200, 2), toy_split(10, 2, seed=1)
    model = plain_model()
    model.classes, model.head, model.head_spec = 2, build_head("score", 16, 2), "score"
    settings = recipe(epochs=2, batch_size=50, lr=0.05, average="ema", ema_decay=0.9)
    trainer = Trainer(
        model, Differential(bias="extreme"), split, held_out, settings, inner=None, threat=threat
    )
    for _ in range(2):
        trainer.run_epoch(lambda _: None)
    with torch.no_grad():
        scores = (
            trainer.averaged_model.features(split.images.float() / 255)
            @ trainer.averaged_model.head.weight[0]
        )
    expected = -(scores[split.labels == 1].min() + scores[split.labels == 0].max()) / 2
    assert float(trainer.averaged_model.head.bias) == pytest.approx(float(expected), abs=1e-5)
    assert float(expected) != 0
