"""The CIFAR-10 ResNet-18 with weights from the installed pyautoattack package."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from robbench.core.errors import UserError
from robbench.data.base import DataInfo, reason
from robbench.data.vision import CIFAR10
from robbench.models.base import Architecture, Classifier
from robbench.models.resnet18 import FEATURES, ResNet18Body

_SHAPE = (3, 32, 32)


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
        return CIFAR10.classes

    def build(self, info: DataInfo) -> Classifier:
        """The trained classifier. UserError for other shapes or classes, or without the file."""
        if tuple(info.shape) != _SHAPE or len(info.classes) != len(CIFAR10.classes):
            raise UserError(
                f"model pyautoattack-resnet18 is for CIFAR-10, shape {_SHAPE} with 10 classes; "
                f"the data have shape {tuple(info.shape)} with {len(info.classes)}"
            )
        body, head = ResNet18Body(_SHAPE[0]), nn.Linear(FEATURES, len(CIFAR10.classes))
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
            nn.Identity(), body, head, features=FEATURES, classes=len(CIFAR10.classes)
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
