"""A small model of one's own, trained once, and the digits as tensors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import robbench
from robbench.data.load import load

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 32), nn.Dropout(0.5), nn.ReLU(), nn.Linear(32, 10)
        )

    def forward(self, x):
        return self.layers(x)

def make(weights):
    net = Net()
    net.load_state_dict(torch.load(weights, weights_only=True))
    return net
"""


class Net(nn.Module):
    """A fully connected network with a layer whose mode matters."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 32), nn.Dropout(0.5), nn.ReLU(), nn.Linear(32, 10)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B,10] logits."""
        return self.layers(x)


@pytest.fixture(autouse=True)
def _on_one_thread(one_thread: None) -> None:
    """Small models only."""


@pytest.fixture(scope="session")
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """Images [200,1,8,8] in [0,1] and their labels."""
    split = load("digits", "test", limit=200)
    return split.pixels(slice(None)), split.labels


@pytest.fixture(scope="session")
def trained_net(one_thread: None) -> nn.Module:
    """A Net that knows the digits, as its user left it: in training mode, one weight frozen."""
    split = load("digits", "train")
    torch.manual_seed(0)
    net, x, y = Net(), split.pixels(slice(None)), split.labels
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    net.layers[1].bias.requires_grad_(False)
    return net.train()


@pytest.fixture
def nets(private, trained_net: nn.Module) -> Path:
    """A folder with nets.py, whose `make` builds the trained network, and its weights.pt."""
    folder = private("nets", NET)
    torch.save(trained_net.state_dict(), folder / "weights.pt")
    return folder


TINY = {"model": "mlp:width=16,depth=1", "limit": 150, "epochs": 3, "inner": "pgd:steps=2"}


@pytest.fixture(scope="session")
def settings() -> dict[str, Any]:
    """Of a training that takes a tenth of a second."""
    return dict(TINY)


@pytest.fixture(scope="module")
def trained_here(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder with a model `m` that was trained from Python."""
    folder = tmp_path_factory.mktemp("api") / "S"
    robbench.train("cross-entropy", data="digits", name="m", out=folder, **TINY)
    return folder


@pytest.fixture
def silent(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Nothing goes to either stream."""
    yield
    assert capfd.readouterr() == ("", "")
