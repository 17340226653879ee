"""Small data, models and recipes to train by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from robbench.data.base import Split
from robbench.models.base import Classifier
from robbench.testing import toy_split
from robbench.threat.model import ThreatModel, parse_threat
from robbench.training.recipe import Recipe

SHAPE, CLASSES = (1, 6, 6), 4


@pytest.fixture(autouse=True)
def _on_one_thread(one_thread: None) -> None:
    """Small tensors only."""


@pytest.fixture
def split() -> Split:
    """24 training samples of 4 classes."""
    return toy_split(24, CLASSES, SHAPE)


@pytest.fixture
def validation() -> Split:
    """12 other samples."""
    return toy_split(12, CLASSES, SHAPE, seed=1)


@pytest.fixture
def threat() -> ThreatModel:
    """linf:0.1."""
    return parse_threat("linf:0.1")[0]


@pytest.fixture
def plain_model() -> Callable[[], Classifier]:
    """Makes the same two-layer network again and again."""

    def make() -> Classifier:
        torch.manual_seed(0)
        body = nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.ReLU())
        return Classifier(nn.Identity(), body, nn.Linear(16, CLASSES), features=16, classes=CLASSES)

    return make


@pytest.fixture
def norm_model() -> Callable[[], Classifier]:
    """Makes a network whose output depends on the mode: batch-norm and dropout."""

    def make() -> Classifier:
        torch.manual_seed(0)
        body = nn.Sequential(
            nn.Flatten(), nn.Linear(36, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3)
        )
        return Classifier(nn.Identity(), body, nn.Linear(16, CLASSES), features=16, classes=CLASSES)

    return make


@pytest.fixture
def recipe() -> Callable[..., Recipe]:
    """Plain SGD on the whole set at a constant rate, unless told otherwise."""

    def make(**changes: Any) -> Recipe:
        usual = {
            "epochs": 1,
            "batch_size": 24,
            "optimizer": "sgd",
            "lr": 0.5,
            "momentum": 0.0,
            "weight_decay": 0.0,
            "schedule": "constant",
            "augment": "none",
            "seed": 3,
        }
        return Recipe(**{**usual, **changes})

    return make
