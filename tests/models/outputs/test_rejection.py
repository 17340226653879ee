"""Outputs with a rejection class: a plain loop over rows, and the way out of a rejection."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from robbench.models.outputs.rejection import Rejection

pytestmark = pytest.mark.usefixtures("one_thread")


def _logits(outputs: Tensor) -> Tensor:
    found: Tensor = Rejection.apply(outputs)  # type: ignore[no-untyped-call]
    return found


@given(st.lists(st.lists(st.integers(-2, 2), min_size=4, max_size=4), min_size=1, max_size=8))
def test_rows_whose_last_output_is_the_largest_have_no_answer(rows: list[list[int]]) -> None:
    """A tie is a rejection: all of the row is NaN; other rows keep their logits."""
    found = _logits(torch.tensor(rows, dtype=torch.float64))
    for row, logits in zip(rows, found.tolist(), strict=True):
        if row[-1] >= max(row[:-1]):
            assert all(math.isnan(z) for z in logits)
        else:
            assert logits == row[:-1]


@given(st.integers(0, 1000))
def test_answers_have_the_gradient_of_their_logits(seed: int) -> None:
    """And the rejection none; a rejected row climbs z_(1) + z_(2) - 2 z_K where its own is NaN."""
    draw = torch.Generator().manual_seed(seed)
    outputs = torch.randn(7, 4, generator=draw, dtype=torch.float64).requires_grad_()
    # Its gradient of a logit is that logit: NaN where it is.
    (found,) = torch.autograd.grad((_logits(outputs) ** 2 / 2).sum(), outputs)
    for row, grad in zip(outputs.tolist(), found.tolist(), strict=True):
        if row[-1] >= max(row[:-1]):
            first, second = sorted(range(3), key=lambda k: -row[k])[:2]
            assert grad == [1.0 if k in (first, second) else 0.0 for k in range(3)] + [-2.0]
        else:
            assert grad == pytest.approx([*row[:-1], 0.0])


def test_a_step_of_ascent_ends_a_rejection() -> None:
    """The way out leads to an answer."""
    outputs = torch.tensor([[0.0, 0.5, -1.0, 2.0]], requires_grad=True)
    (grad,) = torch.autograd.grad(_logits(outputs).square().sum(), outputs)
    assert not _logits(outputs.detach() + grad).isnan().any()
