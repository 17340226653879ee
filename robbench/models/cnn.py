"""A small convolutional network for experiments on a laptop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import nn

from robbench.data.base import DataInfo
from robbench.models.base import Architecture, Classifier, Normalize
from robbench.models.heads import build_head
from robbench.models.shapes import image_shape

_LARGEST_MAP = 8


@dataclass(frozen=True, kw_only=True)
class SmallCNN(Architecture):
    """Three 3x3 convolutions (the first two of stride 2), two linear layers, ReLU, no batch norm.

    In the spirit of the small MNIST and CIFAR networks of the certified-training literature (Wong
    and Kolter 2018): quick on a CPU, the same in training and evaluation mode, for images of any
    size and number of channels.
    """

    width: Annotated[
        int,
        Field(
            ge=1,
            le=10_000,
            description="channels of the first convolution; there are 4 times as many features",
        ),
    ] = 32

    def build(self, info: DataInfo) -> Classifier:
        """A fresh classifier with 4 * width features. UserError when the data are not images."""
        channels, height, width = image_shape(info, "small-cnn")
        sides = [_after_two_strides(height), _after_two_strides(width)]
        # Fixed windows, not adaptive pooling: adaptive pooling has no deterministic backward pass
        # on CUDA.
        window = [-(-side // _LARGEST_MAP) for side in sides]
        rows, columns = (-(-side // step) for side, step in zip(sides, window, strict=True))
        features = 4 * self.width
        body = nn.Sequential(
            # Striding first costs a third of striding last and was as accurate on MNIST, CIFAR-10
            # and digits.
            nn.Conv2d(channels, self.width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(self.width, 2 * self.width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(2 * self.width, 2 * self.width, 3, padding=1),
            nn.ReLU(),
            nn.Identity()
            if window == [1, 1]
            else nn.AvgPool2d((window[0], window[1]), ceil_mode=True),
            nn.Flatten(),
            nn.Linear(2 * self.width * rows * columns, features),
            nn.ReLU(),
        )
        classes = len(info.classes)
        head = build_head("linear", features, classes)
        return Classifier(
            Normalize(info.mean, info.std), body, head, features=features, classes=classes
        )


def _after_two_strides(side: int) -> int:
    return -(-side // 4)
