"""Gradients of columns, against closed forms and where there is no graph."""

from __future__ import annotations

import torch

from robbench.core.gradients import column_gradients, pulled_back


def test_columns_of_a_quadratic() -> None:
    """Of x.w_j + |x|^2 j the gradient is w_j + 2 j x."""
    x = torch.rand(5, 3, dtype=torch.float64).requires_grad_()
    w = torch.rand(3, 4, dtype=torch.float64)
    factors = torch.arange(4, dtype=torch.float64)
    found = column_gradients(x @ w + x.square().sum(1, keepdim=True) * factors, x)
    expected = w.T[None] + 2 * factors[None, :, None] * x.detach()[:, None]
    torch.testing.assert_close(found, expected)


def test_values_without_a_way_to_the_leaf_have_gradients_of_zero() -> None:
    """The graph is cut, or leads elsewhere."""
    x = torch.rand(5, 2, 3).requires_grad_()
    other = torch.rand(5, 4).requires_grad_()
    for values in (x.detach().flatten(1)[:, :4], 2 * other, x.detach().flatten(1)[:, :0]):
        found = column_gradients(values, x)
        assert found.shape == (5, values.shape[1], 2, 3)
        assert not found.any()
        assert not found.requires_grad


def test_seeds_pulled_back_are_the_gradient_of_their_product() -> None:
    """Of x^2 w, row by row: 2 x (w seed)."""
    x = torch.rand(5, 3, dtype=torch.float64).requires_grad_()
    w, seeds = (torch.rand(*shape, dtype=torch.float64) for shape in ((3, 4), (5, 4)))
    found = pulled_back(x.square() @ w, seeds, x)
    torch.testing.assert_close(found, 2 * x.detach() * (seeds @ w.T))
    for outputs in ((x @ w).detach(), torch.rand(5, 4, dtype=torch.float64).requires_grad_()):
        none = pulled_back(outputs, seeds, x)
        assert none.shape == x.shape
        assert not none.any()
        assert not none.requires_grad
