"""What a backend asks is counted by rows, whichever way it asks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from robbench.engine.counter import Counter

pytestmark = pytest.mark.usefixtures("one_thread")

CALLS = st.lists(st.tuples(st.sampled_from(["logits", "graph", "gradient"]), st.integers(1, 9)))


@given(CALLS)
def test_rows_are_counted_forwards_and_backwards(calls: list[tuple[str, int]]) -> None:
    """A forward counts its rows, a backward too once it is made; logits are the model's."""
    model = nn.Linear(3, 2)
    counter = Counter(model)
    for kind, rows in calls:
        x = torch.rand(rows, 3)
        if kind == "logits":
            with torch.no_grad():
                logits = counter(x)
        else:
            logits = counter(x.requires_grad_())
            if kind == "gradient":
                (grad,) = torch.autograd.grad(logits[:, 0].sum(), x)
                assert torch.equal(grad, model.weight[0].expand(rows, 3))
        assert torch.equal(logits, model(x))
    assert counter.n_forward == sum(rows for _, rows in calls)
    assert counter.n_backward == sum(rows for kind, rows in calls if kind == "gradient")


def test_a_jacobian_is_a_backward_per_class() -> None:
    """Each pass back through the same graph is one more."""
    counter = Counter(nn.Linear(3, 4))
    x = torch.rand(5, 3, requires_grad=True)
    logits = counter(x)
    for column in logits.unbind(1):
        torch.autograd.grad(column.sum(), x, retain_graph=True)
    assert (counter.n_forward, counter.n_backward) == (5, 20)


@pytest.mark.parametrize("training", [True, False])
def test_it_is_in_the_models_mode(training: bool) -> None:
    """A package that asks for the mode gets the model's answer, and no mode is changed."""
    model = nn.Sequential(nn.Linear(3, 2), nn.Dropout()).train(training)
    assert Counter(model).training == training
    assert [module.training for module in model.modules()] == [training] * 3
