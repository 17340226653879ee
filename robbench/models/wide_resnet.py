"""Wide residual networks, WRN-depth-width."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

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
    activation: Annotated[
        Literal["relu", "silu"], Field(description="silu (swish) in DeepMind's models")
    ] = "relu"
    padding: Annotated[
        Literal["both", "end"],
        Field(description="of strided convolutions: on both sides, or at the end as DeepMind's"),
    ] = "both"

    def build(self, info: DataInfo) -> Classifier:
        """A new classifier, 64 * width features. UserError if depth != 6n+4 or without images."""
        if (self.depth - 4) % 6:
            below = self.depth - (self.depth - 4) % 6
            raise UserError(
                f"model wide-resnet: depth={self.depth} is not 6n+4; use {below} or {below + 6}"
            )
        channels, _, _ = image_shape(info, "wide-resnet")
        features, classes = 64 * self.width, len(info.classes)
        activation = F.silu if self.activation == "silu" else F.relu
        block = functools.partial(
            _Block,
            dropout=self.dropout,
            activation=activation,
            pads_end=self.padding == "end",
        )
        body = _Body(channels, (self.depth - 4) // 6, self.width, activation, block)
        head = build_head("linear", features, classes)
        return Classifier(
            Normalize(info.mean, info.std), body, head, features=features, classes=classes
        )


class _Body(nn.Module):
    def __init__(
        self,
        channels: int,
        blocks: int,
        width: int,
        activation: Callable[[Tensor], Tensor],
        block: Callable[[int, int, int], _Block],
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.block1 = _stage(16, 16 * width, blocks, 1, block)
        self.block2 = _stage(16 * width, 32 * width, blocks, 2, block)
        self.block3 = _stage(32 * width, 64 * width, blocks, 2, block)
        self.bn1 = nn.BatchNorm2d(64 * width)
        self.activation = activation
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = math.prod(module.kernel_size) * module.out_channels
                nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))

    def forward(self, x: Tensor) -> Tensor:
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        return self.activation(self.bn1(x)).mean((2, 3))


def _stage(
    channels: int, planes: int, blocks: int, stride: int, block: Callable[[int, int, int], _Block]
) -> nn.Sequential:
    return nn.Sequential(
        block(channels, planes, stride), *(block(planes, planes, 1) for _ in range(blocks - 1))
    )


class _Block(nn.Module):
    def __init__(
        self,
        channels: int,
        planes: int,
        stride: int,
        *,
        dropout: float,
        activation: Callable[[Tensor], Tensor],
        pads_end: bool,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.pads_end = pads_end and stride != 1
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(
            channels, planes, 3, stride=stride, padding=0 if self.pads_end else 1, bias=False
        )
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
        out = self.activation(self.bn1(x))
        kept = x if self.shortcut is None else self.shortcut(out)
        out = self.conv1(F.pad(out, (0, 1, 0, 1)) if self.pads_end else out)
        result: Tensor = self.conv2(self.dropout(self.activation(self.bn2(out)))) + kept
        return result
