"""Fully connected networks, from the linear classifier up."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import nn

from robbench.data.base import DataInfo
from robbench.models.base import Architecture, Classifier, Normalize
from robbench.models.heads import build_head


@dataclass(frozen=True, kw_only=True)
class MLP(Architecture):
    """Fully connected layers with ReLU (Rumelhart, Hinton and Williams 1986), for any shape.

    depth=0 is a linear classifier: its features are the normalised pixels themselves, so margins in
    feature space are margins in (scaled) input space.
    """

    width: Annotated[int, Field(ge=1, le=1_000_000, description="units of every hidden layer")] = (
        256
    )
    depth: Annotated[
        int, Field(ge=0, le=1000, description="hidden layers; 0 is a linear classifier")
    ] = 2

    def build(self, info: DataInfo) -> Classifier:
        """A new classifier with `width` features; with depth 0, one feature for each pixel."""
        features = math.prod(info.shape)
        layers: list[nn.Module] = [nn.Flatten()]
        for _ in range(self.depth):
            layers += [nn.Linear(features, self.width), nn.ReLU()]
            features = self.width
        classes = len(info.classes)
        head = build_head("linear", features, classes)
        return Classifier(
            Normalize(info.mean, info.std),
            nn.Sequential(*layers),
            head,
            features=features,
            classes=classes,
        )
