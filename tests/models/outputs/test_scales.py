"""Whether outputs are logits: by their values, by the layer that made them, by their range."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from robbench.core.errors import UserError
from robbench.models.outputs.scales import (
    as_logits,
    bounded,
    probabilities,
    require_scale,
    squashed,
)

pytestmark = pytest.mark.usefixtures("one_thread")

SEEDS = st.integers(0, 10_000)


def _logits(seed: int, scale: float = 3.0) -> Tensor:
    return scale * torch.randn(6, 4, generator=torch.Generator().manual_seed(seed))


@given(SEEDS, st.sampled_from([0.1, 3.0, 30.0]))
def test_values_of_a_softmax_are_known_and_logits_are_left(seed: int, scale: float) -> None:
    """In single precision, however confident; logits are none of it."""
    z = _logits(seed, scale)
    assert probabilities(z.softmax(1)) == ("probabilities", "softmax")
    assert probabilities(z.log_softmax(1)) == ("log-probabilities", "log-softmax")
    assert probabilities(z) is None


@given(SEEDS)
def test_one_row_that_does_not_fit_makes_them_logits(seed: int) -> None:
    """Each row has to sum to one, without negative entries or NaN."""
    p = _logits(seed).softmax(1)
    negative = torch.tensor([0.5, 0.5, 0.5, -0.5])
    for row, bad in ((0, negative), (5, p[5] * 1.01), (2, p[2] * torch.nan)):
        other = p.clone()
        other[row] = bad
        assert probabilities(other) is None


def test_no_rows_and_one_class_say_nothing() -> None:
    """A single output of 1 sums to one whatever it means."""
    assert probabilities(torch.empty(0, 4)) is None
    assert probabilities(torch.ones(5, 1)) is None


@pytest.mark.parametrize(
    ("after", "layer"),
    [
        (lambda z: z.softmax(1), "softmax"),
        (lambda z: z.sigmoid(), "sigmoid"),
        (lambda z: z.softmax(1) * 10 - 3, "softmax"),
        (lambda z: (2 * z.sigmoid()[:, :3]).reshape(-1, 3), "sigmoid"),
        (lambda z: torch.cat([z[:, :2].softmax(1), z[:, 2:].softmax(1)], 1), "softmax"),
        (lambda z: z.softmax(1)[:, [2, 0, 1]].double(), "softmax"),
        (lambda z: z.sigmoid().sqrt() - 1, "sigmoid"),
        (lambda z: z.softmax(1).log(), None),
        (lambda z: torch.cat([z.softmax(1), z.sigmoid()], 1), None),
        (lambda z: torch.cat([z.softmax(1), z], 1), None),
        (lambda z: z.softmax(1) @ torch.ones(4, 4), None),
        (lambda z: z.softmax(1) + z, None),
        (lambda z: z * 2, None),
        (lambda z: z.detach().softmax(1), None),
    ],
)
def test_the_layer_is_found_behind_what_maps_entry_to_entry(
    after: Callable[[Tensor], Tensor], layer: str | None
) -> None:
    """Scaling, cutting and joining do not hide it; a logarithm or a further layer does."""
    z = _logits(0).requires_grad_()
    expected = None if layer is None else (f"made by a {layer}", layer)
    assert squashed(after(z * 1.0)) == expected


@given(st.lists(st.lists(st.floats(-0.5, 1.5), min_size=3, max_size=3), min_size=1, max_size=5))
def test_a_range_is_told_where_all_lie_in_it_and_rows_differ(rows: list[list[float]]) -> None:
    """Equal rows are a constant model, which is none of this."""
    inside = all(0 <= v <= 1 for row in rows for v in row)
    differ = any(row != rows[0] for row in rows)
    outputs = torch.tensor(rows, dtype=torch.float64)
    assert (bounded(outputs) is not None) == (inside and differ)
    assert bounded(torch.empty(0, 3)) is None


@given(SEEDS, st.sampled_from([0.1, 3.0, 20.0]))
def test_logits_come_back_from_probabilities(seed: int, scale: float) -> None:
    """But for a constant of each row, which no margin sees; log-probabilities are left alone."""
    z = _logits(seed, scale)
    centred = z - z.amax(1, keepdim=True)
    for name, outputs in (("probs", z.softmax(1)), ("log-probs", z.log_softmax(1))):
        found = as_logits(outputs, name)
        torch.testing.assert_close(found - found.amax(1, keepdim=True), centred, atol=1e-3, rtol=0)
    small = z.clamp(-8, 8)
    torch.testing.assert_close(as_logits(small.sigmoid(), "sigmoid"), small, atol=1e-3, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_logits_of_what_rounds_to_0_or_1_end(dtype: torch.dtype) -> None:
    """Finite, in their order, and without a gradient where nothing is left of the probability."""
    for name, low, high in (("probs", -87.4, 0.0), ("sigmoid", -87.4, 16.7)):
        leaf = torch.tensor([[-200.0, 200.0], [-1.0, 1.0]], dtype=dtype, requires_grad=True)
        z = as_logits(leaf.softmax(1) if name == "probs" else leaf.sigmoid(), name)
        assert z.dtype == torch.float32
        assert bool(torch.isfinite(z).all())
        assert low <= float(z[0, 0].detach()) < float(z[1, 0].detach())
        assert float(z[1, 1].detach()) < float(z[0, 1].detach()) <= high
        (gradient,) = torch.autograd.grad(z[:, 0].sum(), leaf)
        assert gradient[0].tolist() == [0, 0]
        assert bool((gradient[1] != 0).any())
    assert as_logits(leaf, "logits") is leaf


@pytest.mark.parametrize(
    ("scale", "row", "words"),
    [
        ("probs", [0.5, 0.7], "add up to 1.2; those of a sigmoid for each class are outputs=sig"),
        ("probs", [-0.5, 1.5], "between 0 and 1"),
        ("sigmoid", [0.5, 3.0], "between 0 and 1"),
        ("log-probs", [-1.0, -1.0], "no log-probabilities, they add up to 0.7358$"),
    ],
)
def test_outputs_of_another_kind_than_was_said(scale: str, row: list[float], words: str) -> None:
    with pytest.raises(UserError, match=words):
        require_scale(torch.tensor([row]), scale)


def test_outputs_of_the_kind_that_was_said() -> None:
    """Also of half precision, and one sigmoid for two classes."""
    z = _logits(0)
    for scale, outputs in (
        ("logits", z),
        ("probs", z.softmax(1).half()),
        ("log-probs", z.log_softmax(1).bfloat16()),
        ("sigmoid", z.sigmoid()),
        ("sigmoid", z[:, 0].sigmoid()),
    ):
        require_scale(outputs, scale)
