"""A function as a module: what it uses is found, so that it is frozen and hashed with it."""

import functools

import torch
from torch import nn

from robbench.models.function import Function

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
