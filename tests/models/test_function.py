"""A function as a module: what it uses is found, so that it is frozen and hashed with it."""

import functools

import numpy as np
import pytest
import torch
from torch import nn

from robbench.core.errors import UserError
from robbench.models.external import External
from robbench.models.function import Function
from robbench.models.outputs.options import OutputOptions, Reading
from robbench.models.state import state_of

NET = nn.Linear(4, 2)


class Holder:
    """Not a module itself."""

    def __init__(self, net):
        self.net = net

    def logits(self, x):
        """Of its module."""
        return self.net(x)

    def __call__(self, x):
        return self.logits(x)


def test_the_modules_that_a_function_uses_are_its_children():
    """Around it, among its globals, behind a method, in a partial, in a callable object."""
    inner = nn.Linear(4, 2)
    x = torch.rand(3, 4)
    for function, net in [
        (lambda x: NET(x), NET),
        (lambda x: inner(x), inner),
        (Holder(inner).logits, inner),
        (functools.partial(lambda net, x: net(x), inner), inner),
        (Holder(inner), inner),
        (inner.forward, inner),
    ]:
        wrapped = Function(function)
        assert torch.equal(wrapped(x), function(x))
        assert list(wrapped.used) == [net]
        wrapped.eval()
        assert not net.training
        wrapped.train()


W = np.linspace(-1, 1, 40).reshape(4, 10) ** 3


def softmax(z):
    return np.exp(z) / np.exp(z).sum(1, keepdims=True)


def flat(x):
    assert x.dtype == np.float32
    assert x.ndim == 2
    return x @ W


@pytest.mark.parametrize(
    ("function", "scale", "access"),
    [
        (lambda x: x.reshape(len(x), -1) @ W, "logits", "score-based"),
        (flat, "logits", "score-based"),
        (lambda x: softmax(flat(x)), "probs", "score-based"),
        (lambda x: np.log(softmax(flat(x))), "log-probs", "score-based"),
        (lambda x: flat(x).argmax(1), "labels", "decision-based"),
        (lambda x: flat(x).argmax(1).astype(float), "labels", "decision-based"),
        (lambda x: flat(x).argmax(1).tolist(), "labels", "decision-based"),
        (lambda x: (x.flatten(1) @ torch.tensor(W).float()).argmax(1), "labels", "decision-based"),
        (lambda x: x.flatten(1) @ torch.tensor(W).float(), "logits", "white-box"),
    ],
)
def test_what_a_function_takes_and_gives_is_found(function, scale, access):
    """Tensors or arrays, as images or flat; scores, probabilities or classes."""
    model = External(Function(function), 10, Reading(names=tuple("0123456789")))
    x = torch.rand(6, 1, 2, 2)
    model.fit_interface(x[:2])
    model.eval()
    assert (model.interface.scale, model.access) == (scale, access)
    z = torch.tensor(x.flatten(1).numpy() @ W).float()
    if scale == "labels":
        wanted = torch.nn.functional.one_hot(z.argmax(1), 10) - 0.5
    else:
        wanted = z if scale == "logits" else z.log_softmax(1)
    torch.testing.assert_close(model(x), wanted, atol=1e-5, rtol=1e-5)


def test_a_class_that_is_none_is_an_error():
    model = External(Function(lambda x: np.full(len(x), 3)), 2, Reading(names=("a", "b")))
    model.fit_interface(torch.rand(2, 4))
    with pytest.raises(UserError, match="it names class 3; there are 2 classes, from 0"):
        model(torch.rand(2, 4))


def test_scores_and_classes_are_told_apart_once():
    """By the first inputs: a later score without a fraction is a score, alone or among others."""
    function = Function(lambda x: np.asarray(x).sum(1))
    x = torch.tensor([[0.5, 0.25], [1.0, 0.5], [1.0, 1.0], [0.0, 0.0]])
    model = External(function, 2, Reading(names=("a", "b")))
    model.fit_interface(x[:2])
    torch.testing.assert_close(model(x)[:, 1] * 2, x.sum(1))
    for row in x:
        torch.testing.assert_close(model(row[None])[:, 1] * 2, row.sum()[None])
    named = External(Function(lambda x: np.asarray(x).sum(1)), 2, Reading(names=("a", "b")))
    named.fit_interface(x[3:].repeat(2, 1))
    assert named.interface.scale == "labels"
    with pytest.raises(UserError, match=r"it names class 0.75: scores of classes should be"):
        named(x)


def test_probabilities_that_are_stated_are_no_classes():
    """Though those of the first inputs are 0 and 1."""
    reading = Reading(OutputOptions(outputs="probs"), names=("a", "b"))
    model = External(Function(lambda x: np.asarray(x)[:, 0]), 2, reading)
    x = torch.tensor([[0.0], [1.0], [0.25]])
    model.fit_interface(x[:2])
    torch.testing.assert_close(model(x)[2].softmax(0), torch.tensor([0.75, 0.25]))


def test_arrays_around_a_function_are_part_of_its_state():
    def made(weight):
        return state_of(Function(lambda x: x @ weight)).hash()

    assert made(W) == made(W.copy()) != made(W + 1e-9)


def test_answers_for_some_of_the_inputs_only_are_an_error():
    """Also where the first ones were whole."""
    rows = [2, 1]

    def answers(a):
        return np.tile(a.astype(np.float32)[0], (rows.pop(0), 1))

    function, x = Function(answers), torch.rand(2, 4)
    function.fit(x, Reading())
    with pytest.raises(UserError, match="the model returns 1 rows for 2 inputs"):
        function(x)
