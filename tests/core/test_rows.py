"""Rows: taking, replacing, joining and choosing rows of several tensors at once."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from robbench.core.rows import Rows, lift, pick

pytestmark = pytest.mark.usefixtures("one_thread")


class State(Rows):
    """Rows of three widths and something that belongs to all."""

    x: Tensor
    f: Tensor
    n: Tensor
    name: str = "all"


def _state(count: int, start: int = 0) -> State:
    index = torch.arange(start, start + count)
    return State(x=(index[:, None, None] * 10 + torch.arange(6).reshape(2, 3)).double(), f=index / 2, n=index, name="mine")


def test_subclasses_are_frozen_and_keyword_only() -> None:
    """Rows cannot be changed in place and take no positional arguments."""
    state = _state(2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        state.f = torch.zeros(2)  # type: ignore[misc]
    with pytest.raises(TypeError):
        State(torch.zeros(2), torch.zeros(2), torch.zeros(2))  # type: ignore[misc]
    assert len(state) == 2
    assert set(state.tensors()) == {"x", "f", "n"}


@pytest.mark.parametrize("index", [slice(1, 4), torch.tensor([3, 3, 0]), torch.tensor([], dtype=torch.int64)])
def test_take_is_indexing_of_every_tensor(index: Tensor | slice) -> None:
    """Each tensor is indexed alike; what is no tensor stays."""
    state = _state(5)
    taken = state.take(index)
    for name, value in state.tensors().items():
        assert torch.equal(getattr(taken, name), value[index])
    assert taken.name == "mine"


def test_take_by_index_copies() -> None:
    """Rows taken by index do not share memory with those they came from."""
    state = _state(3)
    taken = state.take(torch.tensor([0, 1]))
    taken.x.zero_()
    assert state.x[1].abs().sum() > 0


def test_concat_joins_in_order() -> None:
    """Rows of the parts one after the other; text from the first."""
    parts = [_state(2), _state(3, 2), _state(0, 9)]
    joined = State.concat([parts[0], parts[1].replace(name="other"), parts[2]])
    whole = _state(5)
    assert all(torch.equal(getattr(joined, name), value) for name, value in whole.tensors().items())
    assert joined.name == "mine"


def test_where_changes_only_the_rows_of_the_mask() -> None:
    """Against a loop over rows, for fields with one and with many entries a row."""
    old, new, mask = _state(4), _state(4, 100), torch.tensor([True, False, False, True])
    mixed = old.where(mask, x=new.x, f=new.f)
    for row in range(4):
        source = new if mask[row] else old
        assert torch.equal(mixed.x[row], source.x[row])
        assert mixed.f[row] == source.f[row]
    assert torch.equal(mixed.n, old.n)
    assert torch.equal(old.x, _state(4).x)


WIDE, OTHER, FLAT = torch.arange(12.0).reshape(3, 2, 2), -torch.ones(3, 2, 2), torch.tensor([100.0, 200.0, 300.0])


@pytest.mark.parametrize(
    ("a", "b"), [(WIDE, OTHER), (WIDE, FLAT), (FLAT, WIDE), (WIDE, -1.0), (7.0, WIDE), (FLAT, -FLAT), (FLAT, 0.0), (1.0, FLAT)]
)
def test_pick_broadcasts_rows_and_numbers(a: Tensor | float, b: Tensor | float) -> None:
    """`pick` equals choosing row by row, where a row is a tensor, one value, or a number for all."""
    mask = torch.tensor([True, False, True])
    chosen = pick(mask, a, b)
    for row in range(3):
        side = a if mask[row] else b
        value = side[row] if isinstance(side, Tensor) else torch.tensor(side)
        assert torch.equal(chosen[row], value.expand_as(chosen[row]))


def test_pick_with_as_many_rows_as_columns() -> None:
    """A [B] value is one value a row, never one a column, also where both would fit."""
    square, flat = torch.zeros(3, 3), torch.tensor([1.0, 2.0, 3.0])
    assert torch.equal(pick(torch.tensor([True, True, False]), flat, square), torch.tensor([[1.0] * 3, [2.0] * 3, [0.0] * 3]))


@pytest.mark.parametrize("shape", [(3,), (3, 4), (3, 2, 2, 2)])
def test_lift_views_rows(shape: tuple[int, ...]) -> None:
    """A lifted [B] broadcasts against [B,*] row by row."""
    values, like = torch.tensor([1.0, 2.0, 3.0]), torch.ones(shape)
    product = lift(values, like) * like
    assert product.shape == shape
    assert all(torch.equal(product[row], values[row] * like[row]) for row in range(3))
