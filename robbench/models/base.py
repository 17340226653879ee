"""What a model is: features, then a head. Inputs are in [0,1]; its first layer normalises them.

Shapes: B rows, K classes, D features; x is [B,C,H,W] or [B,D_in].
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from robbench.core.access import Access
from robbench.data.base import DataInfo, Units
from robbench.models.outputs.interface import Interface
from robbench.models.outputs.notes import notes_of


class Output(NamedTuple):
    """What a loss may look at: logits [B,K] and the features [B,D] the head read."""

    logits: Tensor
    features: Tensor


class Normalize(nn.Module):
    """Per-channel (x - mean) / std, with the training data's statistics kept in the checkpoint."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    def forward(self, x: Tensor) -> Tensor:
        shape = (1, -1, *[1] * (x.ndim - 2))
        return (x - self.mean.reshape(shape)) / self.std.reshape(shape)


class InUnits(nn.Module):
    """From features in [0,1] to the units that a foreign model takes: low + width * x."""

    def __init__(self, units: Units) -> None:
        super().__init__()
        self.register_buffer("low", torch.tensor(units.low))
        self.register_buffer("width", torch.tensor(units.width))

    def forward(self, x: Tensor) -> Tensor:
        return self.get_buffer("low") + self.get_buffer("width") * x


class Classifier(nn.Module):
    """`head(body(normalize(x)))`.

    `head_spec` names the head: a checkpoint can be rebuilt without its loss. `access` says what it
    shows: gradients, or scores or predicted classes only; `interface` how its outputs are read.
    `loaded`: sentences on what was loaded, from where.
    """

    access: Access = "white-box"
    interface: Interface = Interface()
    loaded: tuple[str, ...] = ()

    def __init__(
        self, normalize: nn.Module, body: nn.Module, head: nn.Module, *, features: int, classes: int
    ) -> None:
        super().__init__()
        self.normalize = normalize
        self.body = body
        self.head = head
        self.features_dim = features
        self.classes = classes
        self.head_spec = "linear"

    @property
    def width(self) -> int:
        """Number of its logits: the classes, and what is outside of them where that counts."""
        return self.classes + self.interface.outside

    @property
    def notes(self) -> list[str]:
        """What is unusual about the way it is called and read, one line each."""
        return notes_of(self.interface, self.classes)

    def features(self, x: Tensor) -> Tensor:
        """[B,D]: what the last layer reads."""
        # A copy where the first layer is not ours, which makes one: it may change in place what it
        # is given.
        features: Tensor = self.body(
            self.normalize(x)
            if isinstance(self.normalize, Normalize)
            else self.normalize(x.clone())
        )
        return features

    def output(self, x: Tensor) -> Output:
        """Logits and features of one pass."""
        features = self.features(x)
        return Output(self.head(features), features)

    def forward(self, x: Tensor) -> Tensor:
        """[B,K] logits."""
        logits: Tensor = self.head(self.features(x))
        return logits

    def with_head(self, spec: str) -> Classifier:
        """The same body under another head (`models/heads.py`), which the checkpoint records."""
        from robbench.models.heads import build_head

        device = next(self.parameters()).device
        self.head = build_head(spec, self.features_dim, self.classes).to(device)
        self.head_spec = spec
        return self


class Loading(NamedTuple):
    """What an architecture is asked for.

    weights: False for the architecture alone, whose weights come from elsewhere (the folder of a
    model that was trained from it). download: whether the network may be used. judged: whether the
    model is to be judged as it is; one to be trained needs an output for each class of the data.
    """

    info: DataInfo
    weights: bool = True
    download: bool = False
    judged: bool = False


class Usual(NamedTuple):
    """The data set and the threat model of a command that names none; None = as for any model."""

    data: str | None = None
    threat: str | None = None


class Architecture(ABC):
    """A registered model: a frozen dataclass of options that builds a classifier for some data.

    `places`: the options that only say where weights lie; they are no part of what the model is.
    Those of its bases are added. `trainable`: whether `robbench train` can train it. `instead`:
    what to say of options that it does not have.
    """

    places: ClassVar[tuple[str, ...]] = ()
    trainable: ClassVar[bool] = True
    instead: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("weights", "checkpoint", "file"), "; a file of weights is checkpoint:FILE,arch=SPEC"
    )

    @property
    def pretrained(self) -> bool:
        """Whether the model comes with weights."""
        return False

    @property
    def usual(self) -> Usual:
        """What the model is attacked on and under where nothing else is said."""
        return Usual()

    def label(self, spec: str) -> str:
        """The model's name in results, where it was given as `spec`."""
        return spec

    def classes_of(self) -> tuple[str, ...]:
        """The class of each output of a pretrained model, in order; () if trained from scratch."""
        return ()

    @abstractmethod
    def build(self, info: DataInfo) -> Classifier:
        """A new model for this shape and number of classes. UserError if it cannot be built.

        Weights are drawn from torch's global generator.
        """

    def build_from(self, loading: Loading) -> Classifier:
        """As `build`, with all that is asked for, which only models of other sources mind."""
        return self.build(loading.info)


def interface_of(model: object) -> Interface:
    """How a model's outputs are read; of what is no Classifier as they are."""
    return model.interface if isinstance(model, Classifier) else Classifier.interface


def last_linear(model: nn.Module) -> tuple[str, nn.Linear] | None:
    """Name and module of a foreign model's last linear layer; its input is the features."""
    found: Any = [
        (name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)
    ]
    return found[-1] if found else None
