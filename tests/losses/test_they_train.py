"""Every registered loss, with its defaults and in its variants, teaches a small network what unseen
data need.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from robbench.catalogue.builtins import ATTACKS, LOSSES
from robbench.models.base import Classifier
from robbench.testing import SHAPE, toy_split
from robbench.threat.model import parse_threat
from robbench.training.inner import Inner
from robbench.training.recipe import Recipe
from robbench.training.trainer import Trainer

NOISE = {
    "clp": "clp:sigma=0.05",
    "lsq": "lsq:sigma=0.05",
}  # their usual noise drowns pixels that are noise themselves
VARIANTS = [
    "differential:form=logistic",
    "differential:form=squared-hinge",
    "differential:multiclass=true",
    "i-sce:mode=virtual-class",
    "i-sce:mode=multiplicative",
    "i-sce:sampling=uniform",
    "i-sce:sampling=half-normal",
    "i-sce:sampling=annealed",
    "i-sce:space=cosine",
    "aalp:guided_dropout=false",
    "aalp:adaptive_weights=false",
    "aalp:guided_dropout=false,adaptive_weights=false",
    "aalp:granularity=batch,rate=rank,drop=0.5",
    "aalp:attack_masked=true",
    "aalp:weight=correct",
    "aalp:balance=both",
    "aalp:weight=no-conflict",
    "aalp:balance=convex",
    "differential:pairing=random",
]


@pytest.mark.parametrize("spec", [*(NOISE.get(name, name) for name in LOSSES.entries), *VARIANTS])
def test_it_is_right_on_unseen_data(spec):
    """Well above chance, 1/4 (1/2 for two classes), after a few hundred steps of the trainer."""
    loss = LOSSES.build(spec)
    classes = 2 if spec.startswith("differential") and "multiclass" not in spec else 4
    split, unseen = toy_split(256, classes), toy_split(256, classes, seed=1)
    info = split.info()
    loss.check(info)
    torch.manual_seed(0)
    body = nn.Sequential(nn.Flatten(), nn.Linear(SHAPE[1] * SHAPE[2], 32), nn.ReLU())
    model = loss.prepare(
        Classifier(nn.Identity(), body, nn.Linear(32, classes), features=32, classes=classes), info
    )
    threat = parse_threat("linf:0.02")[0]
    inner = (
        None
        if loss.inner is None
        else Inner(ATTACKS.build(loss.inner.replace("steps=10", "steps=2")), threat)
    )
    recipe = Recipe(
        epochs=12,
        batch_size=16,
        optimizer="adam",
        lr=0.01,
        momentum=0.9,
        weight_decay=0.0,
        schedule="one-cycle",
        augment="none",
        seed=0,
    )
    trainer = Trainer(model, loss, split, unseen, recipe, inner=inner, threat=threat)
    for _ in range(recipe.epochs):
        trainer.run_epoch(lambda progress: None)
    accuracy = trainer.validate().clean_accuracy
    assert accuracy > (0.8 if classes == 2 else 0.6)
