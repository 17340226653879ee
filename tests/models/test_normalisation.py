"""Normalisations of several libraries are found where they are asked."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms import Normalize as Torchvision

from robbench.models.base import Normalize
from robbench.models.normalisation import Normalisation, find_normalisations

X = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
MEAN, STD = (0.5, 0.25, 0.125), (0.25, 0.5, 0.125)
HEAD = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))


class Buffers(nn.Module):
    """As in the models of RobustBench: buffers mu and sigma of the model itself."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mu", torch.tensor(MEAN).reshape(1, 3, 1, 1))
        self.register_buffer("sigma", torch.tensor(STD).reshape(1, 3, 1, 1))
        self.head = HEAD

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head((x - self.mu) / self.sigma)
        return out


@pytest.mark.parametrize(
    ("model", "place", "kind"),
    [
        (nn.Sequential(Normalize(MEAN, STD), HEAD), "0", "Normalize"),
        (nn.Sequential(Torchvision(MEAN, STD), HEAD), "0", "Normalize"),
        (Buffers(), "", "Buffers"),
    ],
    ids=["robbench", "torchvision", "buffers"],
)
def test_in_front(model: nn.Module, place: str, kind: str) -> None:
    """A layer in front, or buffers of the model."""
    assert find_normalisations(model, X) == [Normalisation(place, kind, MEAN, STD, front=True)]


def test_twice() -> None:
    """Of two, one is in front; both are named in the order in which they are asked."""
    model = nn.ModuleDict({"second": Normalize((0.5,), (0.5,)), "first": Normalize(MEAN, STD)})

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts, self.head = model, HEAD

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(self.parts["second"](self.parts["first"](x)))
            return out

    found = find_normalisations(Twice(), X)
    assert [(one.module, one.mean, one.front) for one in found] == [
        ("parts.first", MEAN, True),
        ("parts.second", (0.5,), False),
    ]


def test_none() -> None:
    """Batch-norm, numbers of other sizes, deviations of zero, and layers that are not asked."""
    other = nn.Sequential(nn.BatchNorm2d(3), HEAD)
    other.mean, other.std = torch.zeros(5), torch.ones(5)
    flat = nn.Sequential(HEAD)
    flat.mean, flat.std = torch.zeros(3), torch.zeros(3)
    for model in (other, flat):
        assert find_normalisations(model, X) == []

    class Unasked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.normalize, self.head = Normalize(MEAN, STD), HEAD

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(x)
            return out

    assert find_normalisations(Unasked(), X) == []
