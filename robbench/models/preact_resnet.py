"""PreAct-ResNet-18, the work horse of adversarial training on CIFAR."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from robbench.data.base import DataInfo
from robbench.models.base import Architecture, Classifier, Normalize
from robbench.models.heads import build_head
from robbench.models.shapes import image_shape

_FEATURES = 512


@dataclass(frozen=True, kw_only=True)
class PreActResNet18(Architecture):
    """PreAct-ResNet-18 (He et al. 2016, Identity Mappings in Deep Residual Networks).

    11.17 million parameters, for small images. The CIFAR form of the adversarial training
    literature (Rice et al. 2020): a 3x3 stem without pooling, stages of 64, 128, 256 and 512
    channels, batch norm and ReLU before the global average.
    """

    final_norm: Annotated[
        bool, Field(description="batch norm and ReLU before the average; the Fast AT code has none")
    ] = True
    shortcut: Annotated[
        Literal["activation", "input"],
        Field(description="what a shortcut with weights reads: Fast AT (Wong et al. 2020): input"),
    ] = "activation"

    def build(self, info: DataInfo) -> Classifier:
        """A fresh classifier with 512 features. UserError when the data are not images."""
        channels, _, _ = image_shape(info, "preact-resnet18")
        classes = len(info.classes)
        head = build_head("linear", _FEATURES, classes)
        return Classifier(
            Normalize(info.mean, info.std),
            _Body(channels, self.final_norm, self.shortcut == "input"),
            head,
            features=_FEATURES,
            classes=classes,
        )


class _Body(nn.Module):
    def __init__(self, channels: int, final_norm: bool, from_input: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
        self.layer1 = _stage(64, 64, 1, from_input)
        self.layer2 = _stage(64, 128, 2, from_input)
        self.layer3 = _stage(128, 256, 2, from_input)
        self.layer4 = _stage(256, _FEATURES, 2, from_input)
        self.bn = nn.BatchNorm2d(_FEATURES) if final_norm else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.conv1(x)))))
        return (x if self.bn is None else F.relu(self.bn(x))).mean((2, 3))


def _stage(channels: int, planes: int, stride: int, from_input: bool) -> nn.Sequential:
    return nn.Sequential(
        _PreActBlock(channels, planes, stride, from_input),
        _PreActBlock(planes, planes, 1, from_input),
    )


class _PreActBlock(nn.Module):
    def __init__(self, channels: int, planes: int, stride: int, from_input: bool) -> None:
        super().__init__()
        self.from_input = from_input
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, planes, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        changes = stride != 1 or channels != planes
        self.shortcut = (
            nn.Conv2d(channels, planes, 1, stride=stride, bias=False) if changes else None
        )

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(x))
        kept = x if self.shortcut is None else self.shortcut(x if self.from_input else out)
        result: Tensor = self.conv2(F.relu(self.bn2(self.conv1(out)))) + kept
        return result
