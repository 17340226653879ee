"""What is seen of a sample is its own affair, and a model without features says why."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from robbench.core.freeze import frozen
from robbench.metrics.observe import find_head, inspect_model
from robbench.models.external import External

from .small import convolutional


def nudge(index, clean):
    """A point that depends on the sample only."""
    return (clean + 0.1 * torch.sin(7 * clean)).clamp(0, 1)


@pytest.mark.parametrize("moved", [None, nudge], ids=["clean", "moved"])
def test_no_number_depends_on_other_samples(digits, moved):
    """Alone, in another order or among others: the same bits in every column."""
    model = convolutional()
    with frozen(model):
        head = find_head(model, digits.pixels(slice(0, 8)))
        whole = inspect_model(model, head, digits, 32, moved)
        for index in (torch.arange(69, -1, -1), torch.tensor([5]), torch.arange(3, 40)):
            part = inspect_model(model, head, digits.take(index), 32, moved)
            for name, values in part.columns.items():
                assert np.array_equal(values, whole.columns[name][index.numpy()], equal_nan=True), (
                    name
                )
            assert np.array_equal(part.features, whole.features[index.numpy()])


def test_the_columns_of_a_point(digits):
    """Linearity is measured of moved points only; and it is zero where nothing moved."""
    model = convolutional()
    with frozen(model):
        head = find_head(model, digits.pixels(slice(0, 8)))
        clean = inspect_model(model, head, digits, 32)
        still = inspect_model(model, head, digits, 32, lambda index, clean: clean)
    assert still.columns.keys() - clean.columns.keys() == {"local_linearity"}
    assert not still.columns["local_linearity"].any()
    for name, values in clean.columns.items():
        assert np.array_equal(values, still.columns[name]), name
    logits = model(digits.pixels(slice(None))).detach()
    assert np.allclose(clean.columns["confidence"], logits.softmax(1).amax(1).numpy(), atol=1e-6)
    assert np.array_equal(clean.columns["correct"], (logits.argmax(1) == digits.labels).numpy())


class Odd(nn.Module):
    """A foreign model; `then` is what it does with the outputs of its last linear layer."""

    def __init__(self, then=lambda z: z, last=True):
        super().__init__()
        self.first = nn.Conv2d(1, 10, 8)
        self.last = nn.Linear(10, 10) if last else nn.Identity()
        self.then = then

    def forward(self, x):
        return self.then(self.last(self.first(x).flatten(1)))


class Tokens(nn.Module):
    """A foreign model whose last linear layer reads two tokens of each image."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(32, 10)

    def forward(self, x):
        return self.last(x.reshape(len(x), 2, 32)).mean(1)


def test_the_head_of_a_foreign_model_is_found(digits):
    """Its last nn.Linear, if its output is the logits; else a reason, and null measures."""
    x = digits.pixels(slice(0, 8))
    known = External(Odd(), 10)
    assert find_head(known, x).module is known.body.last
    assert find_head(known, x).kind == "exact"
    for model, why in (
        (External(Odd(lambda z: 2 * z), 10), "not the outputs"),
        (External(Odd(last=False), 10), "no nn.Linear"),
        (External(Tokens(), 10), "no [B,D] features"),
        (Odd(), "no features"),
    ):
        head = find_head(model, x)
        assert head.module is None
        assert why in head.reason
