"""ResNet-18 for small images, the smaller model of TRADES, MART and AWP."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from robbench.data.base import DataInfo
from robbench.models.base import Architecture, Classifier, Normalize
from robbench.models.heads import build_head
from robbench.models.shapes import image_shape

FEATURES = 512


@dataclass(frozen=True, kw_only=True)
class ResNet18(Architecture):
    """ResNet-18 (He et al. 2016, Deep Residual Learning) in its form for CIFAR.

    11.17 million parameters: a 3x3 stem without pooling, stages of 64, 128, 256 and 512 channels,
    batch norm on the shortcuts that have weights. The one for ImageNet, with a 7x7 stem, is
    torchvision's.
    """

    def build(self, info: DataInfo) -> Classifier:
        """A fresh classifier with 512 features. UserError when the data are not images."""
        channels, _, _ = image_shape(info, "resnet18")
        classes = len(info.classes)
        return Classifier(
            Normalize(info.mean, info.std),
            ResNet18Body(channels),
            build_head("linear", FEATURES, classes),
            features=FEATURES,
            classes=classes,
        )


class ResNet18Body(nn.Module):
    """From images to 512 features."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = nn.Sequential(_BasicBlock(64, 64, 1), _BasicBlock(64, 64, 1))
        self.layer2 = nn.Sequential(_BasicBlock(64, 128, 2), _BasicBlock(128, 128, 1))
        self.layer3 = nn.Sequential(_BasicBlock(128, 256, 2), _BasicBlock(256, 256, 1))
        self.layer4 = nn.Sequential(
            _BasicBlock(256, FEATURES, 2), _BasicBlock(FEATURES, FEATURES, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B,512]: the global average of the last stage."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return F.avg_pool2d(x, x.shape[2:]).flatten(1)


class _BasicBlock(nn.Module):
    def __init__(self, channels: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, planes, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        changes = stride != 1 or channels != planes
        projection = (
            [nn.Conv2d(channels, planes, 1, stride=stride, bias=False), nn.BatchNorm2d(planes)]
            if changes
            else []
        )
        self.shortcut = nn.Sequential(*projection)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + self.shortcut(x))
