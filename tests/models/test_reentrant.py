"""Reentrant checkpoints: found in a graph, and harmless inside `without_reentrant`."""

from __future__ import annotations

import pytest
import torch
import torch.utils.checkpoint
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from robbench.models.reentrant import has_reentrant_checkpoint, without_reentrant

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad"),
]


class Net(nn.Module):
    """Two layers, the first behind a checkpoint of a kind."""

    def __init__(self, reentrant: bool | None) -> None:
        super().__init__()
        self.first, self.last, self.reentrant = nn.Linear(5, 4), nn.Linear(4, 3), reentrant

    def forward(self, x: Tensor) -> Tensor:
        h = (
            self.first(x)
            if self.reentrant is None
            else checkpoint(self.first, x, use_reentrant=self.reentrant)
        )
        out: Tensor = self.last(torch.tanh(h))
        return out


@pytest.mark.parametrize("reentrant", [None, False, True])
def test_only_a_reentrant_one_is_found(reentrant: bool | None) -> None:
    """However deep in the graph; a graph that was never made has none."""
    x = torch.rand(2, 5, requires_grad=True)
    outputs = Net(reentrant)(x)
    assert has_reentrant_checkpoint(outputs * 2 + 1) == (reentrant is True)
    assert not has_reentrant_checkpoint(outputs.detach())


def test_inside_values_and_gradients_are_those_of_the_plain_network() -> None:
    """Also of a second pass back through the same graph, which a reentrant one refuses."""
    net, plain = Net(True), Net(None)
    plain.load_state_dict(net.state_dict())
    x = torch.rand(2, 5)
    leaf, twin = x.clone().requires_grad_(), x.clone().requires_grad_()
    with pytest.raises(RuntimeError, match="reentrant"):
        torch.autograd.grad(net(leaf).sum(), leaf)
    with without_reentrant():
        found = net(leaf)
    assert not has_reentrant_checkpoint(found)
    expected = plain(twin)
    assert torch.equal(found, expected)
    for k in range(3):
        mine, theirs = (
            torch.autograd.grad(z[:, k].sum(), point, retain_graph=True)[0]
            for z, point in ((found, leaf), (expected, twin))
        )
        assert torch.equal(mine, theirs)


def test_afterwards_checkpoints_are_as_before() -> None:
    """Also after an error."""
    before = torch.utils.checkpoint.CheckpointFunction
    with without_reentrant():
        assert torch.utils.checkpoint.CheckpointFunction is not before
    with pytest.raises(ValueError, match="inside"), without_reentrant():
        raise ValueError("inside")
    assert torch.utils.checkpoint.CheckpointFunction is before
