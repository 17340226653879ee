"""Layers called one after the other against the model itself."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from robbench.data.load import load
from robbench.engine.counter import Counter
from robbench.engine.direct import Direct, direct
from robbench.engine.fast_model import fast_model
from robbench.engine.shapes import plain
from robbench.models.create import create

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def split():
    return load("digits", "test", limit=12)


@pytest.mark.parametrize("spec", ["small-cnn:width=4", "mlp", "small-cnn:width=4,head=cosine"])
def test_logits_and_gradients_are_the_models_own(split, spec: str) -> None:
    spec, _, head = spec.partition(",head=")
    torch.manual_seed(0)
    model = create(spec, split.info())
    model = (model.with_head(head) if head else model).eval()
    own = direct(model)
    found = []
    for asked in (model, own):
        x = split.pixels(slice(None)).requires_grad_()
        logits = asked(x)
        found += [logits, torch.autograd.grad(logits.square().sum(), x)[0]]
    assert torch.equal(found[0], found[2])
    assert torch.equal(found[1], found[3])
    assert isinstance(own, Direct) or head


def test_it_owns_no_weights_and_follows_those_of_the_model(split) -> None:
    model, x = create("mlp", split.info()).eval(), split.pixels(slice(None))
    own = direct(model)
    assert not [*own.parameters(), *own.buffers()]
    with torch.no_grad():
        before = own(x)
        for weight in model.parameters():
            weight.mul_(2)
        assert torch.equal(own(x), model(x))
        assert not torch.equal(own(x), before)


class _Own(nn.ReLU):
    def __call__(self, x):
        return -super().__call__(x)


def _hooked(kind: str) -> nn.Module:
    layer = nn.Linear(3, 3)
    getattr(layer, f"register_{kind}")(lambda *args: None)
    return layer


@pytest.mark.parametrize(
    "layer",
    [
        _Own(),
        _hooked("forward_hook"),
        _hooked("forward_pre_hook"),
        _hooked("full_backward_hook"),
        _hooked("full_backward_pre_hook"),
        nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)),
        nn.ModuleList([nn.Linear(3, 3)]),
        nn.TransformerEncoderLayer(3, 1),
    ],
)
def test_what_does_more_than_its_layers_is_left_as_it_is(layer: nn.Module) -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Sequential(layer))
    assert direct(model) is model


def test_global_hooks_are_called() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    with nn.modules.module.register_module_forward_hook(lambda *args: None):
        assert direct(model) is model
    assert isinstance(direct(model), Direct)


def test_attacks_search_it_and_its_shapes_are_those_measured_of_the_model(split) -> None:
    model = create("small-cnn:width=4", split.info()).eval()
    found = fast_model(model, split.pixels(slice(0, 8)), precision="fp32", compiled=False, tile=32)
    assert isinstance(found.model, Direct)
    assert plain(Counter(found.model)) is model
    assert all(weight.requires_grad for weight in model.parameters())
