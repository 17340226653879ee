"""Wide residual networks, WRN-depth-width."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from robbench.core.errors import UserError
from robbench.data.base import DataInfo
from robbench.models.base import Architecture, Classifier, Normalize
from robbench.models.heads import build_head
from robbench.models.shapes import image_shape


@dataclass(frozen=True, kw_only=True)
class WideResNet(Architecture):
    """Wide residual network (Zagoruyko and Komodakis 2016, arXiv:1605.07146).

    WRN-28-10 has 36.5 million parameters. Pre-activation blocks of two 3x3 convolutions in three
    stages of 16, 32 and 64 times `width` channels; convolutions start from He's normal distribution
    (fan out). The larger model of most robustness papers, often WRN-34-10.
    """

    depth: Annotated[
        int, Field(ge=10, le=1000, description="layers, 6n+4: 10, 16, 22, 28, 34, 40, ...")
    ] = 28
    width: Annotated[int, Field(ge=1, le=1000, description="widening factor")] = 10
    dropout: Annotated[
        float, Field(ge=0, lt=1, description="dropout rate between the convolutions of a block")
    ] = 0.0

    def build(self, info: DataInfo) -> Classifier:
        """A new classifier, 64 * width features. UserError if depth != 6n+4 or without images."""
        if (self.depth - 4) % 6:
            below = self.depth - (self.depth - 4) % 6
            raise UserError(
                f"model wide-resnet: depth={self.depth} is not 6n+4; use {below} or {below + 6}"
            )
        channels, _, _ = image_shape(info, "wide-resnet")
        features, classes = 64 * self.width, len(info.classes)
        body = _Body(channels, (self.depth - 4) // 6, self.width, self.dropout)
        head = build_head("linear", features, classes)
        return Classifier(
            Normalize(info.mean, info.std), body, head, features=features, classes=classes
        )


class _Body(nn.Module):
    def __init__(self, channels: int, blocks: int, width: int, dropout: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.block1 = _stage(16, 16 * width, blocks, 1, dropout)
        self.block2 = _stage(16 * width, 32 * width, blocks, 2, dropout)
        self.block3 = _stage(32 * width, 64 * width, blocks, 2, dropout)
        self.bn1 = nn.BatchNorm2d(64 * width)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = math.prod(module.kernel_size) * module.out_channels
                nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))

    def forward(self, x: Tensor) -> Tensor:
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        return F.relu(self.bn1(x)).mean((2, 3))


def _stage(channels: int, planes: int, blocks: int, stride: int, dropout: float) -> nn.Sequential:
    first = _Block(channels, planes, stride, dropout)
    return nn.Sequential(first, *(_Block(planes, planes, 1, dropout) for _ in range(blocks - 1)))


class _Block(nn.Module):
    def __init__(self, channels: int, planes: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, planes, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        # The paper's code asks only whether channels change: with width=1 the first block keeps the
        # identity.
        self.shortcut = (
            nn.Conv2d(channels, planes, 1, stride=stride, bias=False)
            if channels != planes
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(x))
        kept = x if self.shortcut is None else self.shortcut(out)
        result: Tensor = self.conv2(self.dropout(F.relu(self.bn2(self.conv1(out))))) + kept
        return result
