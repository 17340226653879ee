"""A small classifier to measure."""

from __future__ import annotations

import torch
from torch import nn

from robbench.models.base import Classifier
from robbench.models.heads import build_head


def convolutional(head: str = "linear") -> Classifier:
    """A small classifier with batch-norm, so that batches would show."""
    torch.manual_seed(0)
    body = nn.Sequential(
        nn.Conv2d(1, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(216, 20),
        nn.ReLU(),
    )
    return Classifier(nn.Identity(), body, build_head(head, 20, 10), features=20, classes=10).eval()
