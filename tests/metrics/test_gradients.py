"""Gradients of linear models in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from robbench.metrics.gradients import VALUES, dual, flips, lengths, local_linearity, slopes
from robbench.models.base import Output
from robbench.threat.norms import NORMS

W = torch.tensor([[1.0, -2.0, 2.0], [0.0, 0.0, 0.0], [-1.0, 1.0, 0.0]])


def linear(x: torch.Tensor) -> Output:
    """The logits W x."""
    return Output(x @ W.T, x)


def test_the_margin_of_a_linear_model_has_the_gradient_of_two_rows() -> None:
    """For y = 0 against the best other class k it is w_0 - w_k: norms 5, 3 and 2 where k = 1."""
    x, y = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), torch.tensor([0, 0])
    out, found = slopes(linear, x, y)
    margin, grad = found["margin"]
    assert out.logits.tolist() == [[1, 0, -1], [-2, 0, 1]]
    assert margin.tolist() == [1, -3]
    assert grad.tolist() == [[1, -2, 2], [2, -3, 2]]
    assert {name: value[0].item() for name, value in lengths(grad).items()} == {
        "l1": 5,
        "l2": 3,
        "linf": 2,
    }
    assert not grad.requires_grad
    assert not out.logits.requires_grad


def test_the_gradient_of_cross_entropy_is_the_expected_row_less_the_true_one() -> None:
    """sum_k p_k w_k - w_y, also where the model is so sure that 1 - p_y rounds to zero."""
    x, y = torch.tensor([[0.2, 0.4, 0.1], [30.0, 0.0, 0.0]]), torch.tensor([2, 0])
    value, grad = slopes(linear, x, y)[1]["cross_entropy"]
    z = x.double() @ W.T.double()
    p = z.softmax(1)
    against = (z - z.gather(1, y[:, None])).exp().scatter(1, y[:, None], 0).sum(1)
    torch.testing.assert_close(value.double(), against.log1p(), rtol=1e-5, atol=0)
    others = p.scatter(1, y[:, None], 0)
    expected = others @ W.double() - others.sum(1, keepdim=True) * W[y].double()
    torch.testing.assert_close(grad.double(), expected, rtol=1e-5, atol=0)
    assert grad[1].abs().max() > 0


@pytest.mark.parametrize("norm", NORMS)
def test_the_dual_norm_is_that_of_the_threat_model(norm: str) -> None:
    """What `lengths` calls by dual(norm) is the norm's own dual."""
    g = torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(lengths(g)[dual(norm)], NORMS[norm].dual(g))


def test_first_order_flips_are_exact_for_a_linear_model() -> None:
    """Margin <= eps ||grad||_1 is exact in linf: margin 1 with length 5 falls at eps 0.2."""
    x, y = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([0])
    margin, grad = slopes(linear, x, y)[1]["margin"]
    length = lengths(grad)["l1"]
    assert [bool(flips(margin, length, eps)) for eps in (0.199, 0.2, 0.3)] == [False, True, True]
    for eps in (0.199, 0.201):
        moved = x - eps * grad.sign()
        assert (linear(moved).logits.argmax(1) != 0).item() == bool(flips(margin, length, eps))
    assert bool(flips(torch.tensor([-1.0]), torch.tensor([0.0]), 0.0))


def test_local_linearity_is_the_remainder_of_the_first_order_expansion() -> None:
    """Zero for a linear function; |d|^2 for x^2, whatever x."""
    x, d = torch.tensor([[1.0, 2.0], [0.0, -3.0]]), torch.tensor([[0.5, 0.25], [1.0, 0.0]])
    flat = local_linearity(x.sum(1), torch.ones_like(x), (x + d).sum(1), d)
    assert flat.tolist() == [0, 0]
    square = local_linearity(x.square().sum(1), 2 * x, (x + d).square().sum(1), d)
    assert square.tolist() == [0.3125, 1.0]


def test_a_model_that_cuts_the_graph_has_zero_gradients() -> None:
    """No error, and values as they are."""
    x, y = torch.rand(2, 3), torch.tensor([0, 1])
    _, found = slopes(lambda x: linear(x.detach()), x, y)
    for name, value in VALUES.items():
        assert torch.equal(found[name][0], value(x @ W.T, y))
        assert not found[name][1].any()


def test_a_saturated_network_keeps_its_slope() -> None:
    """Finite differences in float64 agree with the measures, through a nonlinear network."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    x, y, step = torch.rand(4, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 0]), 1e-6

    def output(x: torch.Tensor) -> Output:
        return Output(net(x), x)

    for name, value in VALUES.items():
        grad = slopes(output, x, y)[1][name][1]
        for i in range(3):
            d = step * torch.eye(3, dtype=torch.float64)[i]
            change = (value(net(x + d), y) - value(net(x - d), y)) / (2 * step)
            assert np.allclose(grad[:, i].numpy(), change.detach().numpy(), rtol=1e-6, atol=1e-8)
    assert math.isfinite(float(grad.sum()))


def test_a_model_that_cuts_the_graph_has_gradients_of_zero():
    """Also where it goes through NumPy, or where its gradient is another input's."""
    weight = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    other = torch.zeros(2, 3, requires_grad=True)

    def through_numpy(x):
        logits = torch.from_numpy(x.numpy()) @ weight.T
        return Output(logits, logits)

    def of_another(x):
        logits = x.detach() @ weight.T + other
        return Output(logits, logits)

    x, y = torch.rand(2, 4, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 2])
    for forward in (through_numpy, of_another):
        out, found = slopes(forward, x, y)
        assert torch.allclose(out.logits, x @ weight.T)
        assert all(not grad.any() for _, grad in found.values())
