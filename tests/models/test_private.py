"""What a factory makes, with its own options and those that say how outputs are read."""

import pytest
import torch
from torch import nn

from robbench.core.errors import UserError
from robbench.models.private import call_factory, our_options

CLASSES = ("a", "b")


def plain(width=4):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, width))


def greedy(outputs="", classes=0):
    return plain(int(outputs or classes))


def test_options_of_the_factory_and_of_the_outputs_are_told_apart():
    names = ["outputs", "classes", "outside", "width"]
    assert our_options(plain, names) == ["outputs", "classes", "outside"]
    assert our_options(greedy, names) == ["outside"]
    assert our_options(plain(), names) == ["outputs", "classes", "outside"]


def test_the_chosen_outputs_are_the_logits():
    x = torch.rand(3, 1, 4, 4)
    model = call_factory(plain, "m:plain", {"width": "5", "outputs": "3,1"}, CLASSES).eval()
    model.fit_interface(x[:2])
    assert torch.equal(model(x), plain(5)(x)[:, [3, 1]])
    model = call_factory(greedy, "m:greedy", {"outputs": "2"}, CLASSES).eval()
    model.fit_interface(x[:2])
    assert torch.equal(model(x), plain(2)(x))


def test_an_unknown_value_names_the_option():
    with pytest.raises(UserError, match="outside='some'"):
        call_factory(plain, "m:plain", {"outside": "some"}, CLASSES)
