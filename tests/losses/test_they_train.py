"""Every registered loss, with its defaults and in its variants, teaches a small network what unseen
data need.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from robbench.catalogue.builtins import ATTACKS, LOSSES
from robbench.core.freeze import buffers_kept
from robbench.data.load import load
from robbench.models.base import Classifier
from robbench.testing import toy_split
from robbench.threat.model import parse_threat
from robbench.training.inner import Inner
from robbench.training.recipe import Recipe
from robbench.training.step import TrainStep
from robbench.training.trainer import Trainer

MILD = {
    "clp": "clp:sigma=0.05",
    "lsq": "lsq:sigma=0.05",
    "dyart": "dyart:lam=1,burn_in=0.25",
}  # their usual noise or weight drowns what pixels that are noise themselves say
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
    "rpat:beta=1",
    "lbgat:beta=6",
]


def model_of(split, classes):
    """A network of one hidden layer."""
    torch.manual_seed(0)
    size = split.pixels(slice(0, 1)).numel()
    body = nn.Sequential(nn.Flatten(), nn.Linear(size, 32), nn.ReLU())
    return Classifier(nn.Identity(), body, nn.Linear(32, classes), features=32, classes=classes)


def trainer_of(loss, split, unseen, classes, eps, epochs):
    """It trains such a network, prepared for the loss, against a short inner attack."""
    info = split.info()
    loss.check(info)
    threat = parse_threat(f"linf:{eps}")[0]
    inner = None
    if loss.inner is not None:
        short = loss.inner.replace("steps=10", "steps=2").replace("iterations=20", "iterations=3")
        inner = Inner(ATTACKS.build(short), threat)
    recipe = Recipe(
        epochs=epochs,
        batch_size=16,
        optimizer="adam",
        lr=0.01,
        momentum=0.9,
        weight_decay=0.0,
        schedule="one-cycle",
        augment="none",
        average="none" if loss.teacher is None else "ema",
        ema_decay=0.9,
        seed=0,
    )
    model = loss.prepare(model_of(split, classes), info)
    return Trainer(
        model,
        loss,
        split,
        unseen,
        recipe,
        inner=inner,
        threat=threat,
        teacher=clean_model(split, classes) if loss.teacher == "" else loss.teacher,
    )


def clean_model(split, classes):
    """What a loss learns from that needs a trained model."""
    trainer = trainer_of(LOSSES.build("cross-entropy"), split, split, classes, 0.02, 12)
    for _ in range(trainer.recipe.epochs):
        trainer.run_epoch(lambda progress: None)
    return trainer.model


@pytest.mark.parametrize(
    "spec",
    [
        *(MILD.get(name, name) for name in LOSSES.entries),
        *(pytest.param(variant, marks=pytest.mark.slow) for variant in VARIANTS),
    ],
)
def test_it_is_right_on_unseen_data(spec):
    """Well above chance, 1/4 (1/2 for two classes), after a few hundred steps of the trainer."""
    classes = 2 if spec.startswith("differential") and "multiclass" not in spec else 4
    split, unseen = toy_split(256, classes), toy_split(256, classes, seed=1)
    trainer = trainer_of(LOSSES.build(spec), split, unseen, classes, 0.02, 12)
    for _ in range(trainer.recipe.epochs):
        trainer.run_epoch(lambda progress: None)
    accuracy = trainer.validate().clean_accuracy
    assert accuracy > (0.8 if classes == 2 else 0.6)


def value_of(trainer):
    """The mean loss over the training set as one batch at the end of training, apart from it."""
    split = trainer.train
    index = torch.arange(len(split))
    with buffers_kept(trainer.model):
        step = TrainStep(
            trainer.model,
            split.pixels(index),
            split.labels,
            index,
            key=trainer.keys,
            inner=trainer.inner,
            epoch=trainer.recipe.epochs,
            progress=1.0,
            notes=trainer.notes.copy(),
            teacher=trainer._teacher(),
        )
        return trainer.loss(step).mean().item()


@pytest.mark.few(10)
@pytest.mark.parametrize("name", LOSSES.entries)
def test_it_lowers_its_own_value(name):
    """With its defaults, on some digits: what it descends is what it says."""
    data = "digits[0,1]" if name == "differential" else "digits"
    split = load(data, "train", limit=64)
    trainer = trainer_of(LOSSES.build(name), split, split, len(split.classes), 0.05, 6)
    before = value_of(trainer)
    for _ in range(trainer.recipe.epochs):
        trainer.run_epoch(lambda progress: None)
    assert value_of(trainer) < before
