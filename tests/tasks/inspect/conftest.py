"""Models of the digits that classify by the nearest mean of a class, each wrong in its own way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

SOURCE = """
import torch
from torch import nn
from torch.nn import functional as F
from robbench.data.load import load
from robbench.models.base import Normalize

MEAN, STD = (0.3,), (0.375,)


def nearest(form=lambda x: x):
    split = load("digits", "train")
    x = form(split.pixels(slice(None))).flatten(1)
    means = torch.stack([x[split.labels == k].mean(0) for k in range(10)])
    layer = nn.Linear(64, 10)
    layer.weight.data, layer.bias.data = 2 * means, -means.square().sum(1)
    return nn.Sequential(nn.Flatten(), layer)


def normalised(x):
    return (x - MEAN[0]) / STD[0]


class Asks(nn.Module):
    def __init__(self, net, ask):
        super().__init__()
        self.net, self.ask = net, ask

    def forward(self, x):
        return self.ask(self.net, x)


def good():
    return nn.Sequential(Normalize(MEAN, STD), nearest(normalised))

def to_255():
    return nearest(lambda x: 255 * x)

def not_normalised():
    return nearest(lambda x: (x - 0.9) / 0.1)

def other_numbers():
    return nn.Sequential(Normalize((0.9,), (0.1,)), nearest())

def probabilities():
    return nn.Sequential(nearest(), nn.Softmax(1))

def permuted():
    return Asks(nearest(), lambda net, x: net(x)[:, [1, 2, 0, *range(3, 10)]])

def dropout():
    return Asks(nearest(), lambda net, x: F.dropout(net(x), 0.5, training=True))

def channels_last():
    return Asks(nn.Sequential(nn.Conv2d(1, 1, 1), nearest()), lambda net, x: net(x.movedim(-1, 1)))

def colour():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2 * 30 * 30, 10))

def bfloat16():
    return good().to(torch.bfloat16)

def batch_statistics():
    return nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False), nearest(normalised))

def random():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

def wide():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 20))

def text():
    return Asks(nearest(), lambda net, x: "seven")
"""


@pytest.fixture
def nets(private: Callable[[str, str], Path]) -> Path:
    """A folder with shown.py."""
    return private("shown", SOURCE)
