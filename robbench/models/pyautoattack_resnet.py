"""The CIFAR-10 ResNet-18 with weights from the installed pyautoattack package."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robbench.core.errors import UserError
from robbench.data.base import DataInfo, reason
from robbench.models.base import Architecture, Classifier

_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
_SHAPE, _FEATURES = (3, 32, 32), 512


@dataclass(frozen=True, kw_only=True)
class PyAutoAttackResNet18(Architecture):
    """The CIFAR-10 ResNet-18 (He et al. 2016) of AutoAttack's package (Croce and Hein 2020).

    A pretrained model that needs no download: good for checking attacks against the reference
    package. Measured on the first 64 test images: 89 % clean; at linf:8/255 our APGD and theirs
    break all of them, so it is not adversarially trained. It takes [0,1] images without
    normalisation and knows CIFAR-10's ten classes only.
    """

    @property
    def pretrained(self) -> bool:
        """It comes with weights."""
        return True

    def classes_of(self) -> tuple[str, ...]:
        """CIFAR-10's class names."""
        return _CLASSES

    def build(self, info: DataInfo) -> Classifier:
        """The trained classifier. UserError for other shapes or classes, or without the file."""
        if tuple(info.shape) != _SHAPE or len(info.classes) != len(_CLASSES):
            raise UserError(
                f"model pyautoattack-resnet18 is for CIFAR-10, shape {_SHAPE} with 10 classes; "
                f"the data have shape {tuple(info.shape)} with {len(info.classes)}"
            )
        body, head = _Body(), nn.Linear(_FEATURES, len(_CLASSES))
        state = _read_weights()
        try:
            head.load_state_dict(
                {
                    name.removeprefix("linear."): state.pop(name)
                    for name in ("linear.weight", "linear.bias")
                }
            )
            body.load_state_dict(state)
        except (KeyError, RuntimeError) as error:
            raise UserError(
                f"pyautoattack's model_test.pt is not the expected ResNet-18 ({reason(error)}); "
                "reinstall it"
            ) from error
        return Classifier(
            nn.Identity(), body, head, features=_FEATURES, classes=len(_CLASSES)
        ).eval()


def _read_weights() -> dict[str, Tensor]:
    # The file is found without importing the package, whose import has side effects of its own.
    found = importlib.util.find_spec("pyautoattack")
    if found is None or found.origin is None:
        raise UserError(
            "model pyautoattack-resnet18 is in the pyautoattack package, which is not "
            "installed; run `robbench doctor`"
        )
    path = Path(found.origin).parent / "examples" / "model_test.pt"
    try:
        state: dict[str, Tensor] = dict(torch.load(path, weights_only=True, map_location="cpu"))
    except Exception as error:  # a broken file ends in zip, pickle, key or runtime errors
        raise UserError(
            f"{path} cannot be read ({reason(error)}); reinstall pyautoattack"
        ) from error
    return state


class _Body(nn.Module):
    """Names follow the file's state dict."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = nn.Sequential(_BasicBlock(64, 64, 1), _BasicBlock(64, 64, 1))
        self.layer2 = nn.Sequential(_BasicBlock(64, 128, 2), _BasicBlock(128, 128, 1))
        self.layer3 = nn.Sequential(_BasicBlock(128, 256, 2), _BasicBlock(256, 256, 1))
        self.layer4 = nn.Sequential(
            _BasicBlock(256, _FEATURES, 2), _BasicBlock(_FEATURES, _FEATURES, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return F.avg_pool2d(x, 4).flatten(1)


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
