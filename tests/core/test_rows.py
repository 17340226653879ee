"""Rows: taking, replacing, joining and choosing rows of several tensors at once."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from robbench.core.rows import (
    Rows,
    any_at,
    between,
    finite,
    finite_sum,
    lift,
    made_where,
    nowhere,
    pick,
)

pytestmark = pytest.mark.usefixtures("one_thread")


class State(Rows):
    """Rows of three widths and something that belongs to all."""

    x: Tensor
    f: Tensor
    n: Tensor
    name: str = "all"


def _state(count: int, start: int = 0) -> State:
    index = torch.arange(start, start + count)
    return State(
        x=(index[:, None, None] * 10 + torch.arange(6).reshape(2, 3)).double(),
        f=index / 2,
        n=index,
        name="mine",
    )


def test_subclasses_are_frozen_and_keyword_only() -> None:
    """Rows cannot be changed in place and take no positional arguments."""
    state = _state(2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        state.f = torch.zeros(2)  # type: ignore[misc]
    with pytest.raises(TypeError):
        State(torch.zeros(2), torch.zeros(2), torch.zeros(2))  # type: ignore[misc]
    assert len(state) == 2
    assert set(state.tensors()) == {"x", "f", "n"}


@pytest.mark.parametrize(
    "index", [slice(1, 4), torch.tensor([3, 3, 0]), torch.tensor([], dtype=torch.int64)]
)
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


class Nest(Rows):
    """Rows whose first field is rows."""

    inner: State
    k: int = 3


class Outer(Rows):
    """Rows that hold rows, and something for all."""

    inner: State
    t: Tensor
    deep: Nest
    name: str = "outer"


def _outer(count: int, start: int = 0) -> Outer:
    states = (_state(count, start), _state(count, 1000 + start))
    return Outer(
        inner=states[0],
        t=torch.arange(start, start + count),
        deep=Nest(inner=states[1]),
        name="mine",
    )


def _leaves(rows: Rows) -> list[Tensor]:
    """Every tensor, however deep."""
    found: list[Tensor] = []
    rows.map(lambda value: found.append(value) or value)  # type: ignore[func-returns-value]
    return found


def _equal(a: Rows, b: Rows) -> bool:
    return len(_leaves(a)) == len(_leaves(b)) and all(map(torch.equal, _leaves(a), _leaves(b)))


def test_nested_rows_are_counted_and_listed() -> None:
    """Rows of rows have as many rows as their tensors; `tensors` names only their own."""
    outer = _outer(4)
    assert len(outer) == len(outer.deep) == 4
    assert set(outer.tensors()) == {"t"}
    assert outer.deep.tensors() == {}
    assert len(_leaves(outer)) == 3 + 1 + 3


@pytest.mark.parametrize(
    "index", [slice(1, 4), torch.tensor([3, 3, 0]), torch.tensor([], dtype=torch.int64)]
)
def test_take_reaches_every_level(index: Tensor | slice) -> None:
    """Each tensor at each level is indexed alike; what is no tensor stays, at each level."""
    outer = _outer(5)
    taken = outer.take(index)
    assert all(
        torch.equal(a, b[index]) for a, b in zip(_leaves(taken), _leaves(outer), strict=True)
    )
    assert (taken.name, taken.inner.name, taken.deep.k) == ("mine", "mine", 3)
    assert isinstance(taken.deep, Nest)


def test_concat_reaches_every_level() -> None:
    """Nested rows are joined as their holders are."""
    assert _equal(Outer.concat([_outer(2), _outer(3, 2)]), _with_start(_outer(2), _outer(3, 2)))
    assert _equal(Outer.concat([_outer(2)]), _outer(2))


def _with_start(*parts: Outer) -> Outer:
    """Joined field by field."""
    return Outer(
        inner=State.concat([part.inner for part in parts]),
        t=torch.cat([part.t for part in parts]),
        deep=Nest(inner=State.concat([part.deep.inner for part in parts])),
    )


def test_choose_is_a_choice_for_each_row_at_every_level() -> None:
    """Where the mask is true, all fields are these rows', else the other's; checked singly."""
    mine, other = _outer(4), _outer(4, 50)
    mask = torch.tensor([True, False, False, True])
    chosen = mine.choose(mask, other)
    for row in range(4):
        place = slice(row, row + 1)
        assert _equal(chosen.take(place), (mine if mask[row] else other).take(place))
    assert (chosen.name, chosen.inner.name) == ("mine", "mine")
    assert _equal(mine, _outer(4))
    assert _equal(other, _outer(4, 50))
    assert _equal(mine.choose(torch.ones(4, dtype=torch.bool), other), mine)
    assert _equal(mine.choose(torch.zeros(4, dtype=torch.bool), other), other)


def test_choose_does_not_mix_what_is_no_number() -> None:
    """NaN and infinity of the rows that are not chosen leave no trace."""
    mine = _state(3).replace(f=torch.tensor([torch.nan, torch.inf, 1.0]))
    chosen = mine.choose(torch.tensor([False, False, True]), _state(3))
    assert torch.equal(chosen.f, torch.tensor([0.0, 0.5, 1.0]))


def test_map_goes_through_several_rows_together() -> None:
    """The change gets the tensors of the same place, and rows of other types at their own."""
    a, b, c = _outer(3), _outer(3, 3), _outer(3, 6)
    summed = a.map(lambda x, y, z: x + y + z, b, c)
    expected = [x + y + z for x, y, z in zip(_leaves(a), _leaves(b), _leaves(c), strict=True)]
    assert all(map(torch.equal, _leaves(summed), expected))
    assert summed.deep.inner.name == "mine"
    assert _equal(a, _outer(3))


def test_replacing_nested_rows() -> None:
    """`replace` puts in other rows; `where` is for tensors of the level it is called at."""
    outer = _outer(3)
    moved = outer.replace(inner=_state(3, 7))
    assert torch.equal(moved.inner.n, torch.arange(7, 10))
    kept = outer.where(torch.tensor([True, False, True]), t=torch.tensor([9, 9, 9]))
    assert kept.t.tolist() == [9, 1, 9]
    assert kept.inner is outer.inner


WIDE, OTHER, FLAT = (
    torch.arange(12.0).reshape(3, 2, 2),
    -torch.ones(3, 2, 2),
    torch.tensor([100.0, 200.0, 300.0]),
)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (WIDE, OTHER),
        (WIDE, FLAT),
        (FLAT, WIDE),
        (WIDE, -1.0),
        (7.0, WIDE),
        (FLAT, -FLAT),
        (FLAT, 0.0),
        (1.0, FLAT),
    ],
)
def test_pick_broadcasts_rows_and_numbers(a: Tensor | float, b: Tensor | float) -> None:
    """`pick` equals choosing row by row: a row is a tensor, a value, or a number for all."""
    mask = torch.tensor([True, False, True])
    chosen = pick(mask, a, b)
    for row in range(3):
        side = a if mask[row] else b
        value = side[row] if isinstance(side, Tensor) else torch.tensor(side)
        assert torch.equal(chosen[row], value.expand_as(chosen[row]))


def test_pick_with_as_many_rows_as_columns() -> None:
    """A [B] value is one value a row, never one a column, also where both would fit."""
    square, flat = torch.zeros(3, 3), torch.tensor([1.0, 2.0, 3.0])
    assert torch.equal(
        pick(torch.tensor([True, True, False]), flat, square),
        torch.tensor([[1.0] * 3, [2.0] * 3, [0.0] * 3]),
    )


@pytest.mark.parametrize("shape", [(3,), (3, 4), (3, 2, 2, 2)])
def test_lift_views_rows(shape: tuple[int, ...]) -> None:
    """A lifted [B] broadcasts against [B,*] row by row."""
    values, like = torch.tensor([1.0, 2.0, 3.0]), torch.ones(shape)
    product = lift(values, like) * like
    assert product.shape == shape
    assert all(torch.equal(product[row], values[row] * like[row]) for row in range(3))


@pytest.mark.parametrize("chosen", ["none", "some", "all"])
def test_rows_of_many_entries_are_picked_as_few_are(chosen: str) -> None:
    mask = torch.arange(6) % 2 == 0 if chosen == "some" else torch.full((6,), chosen == "all")
    a, b = torch.rand(2, 6, 3, 40, 40)
    wide = mask.reshape(6, 1, 1, 1)
    assert torch.equal(pick(mask, a, b), torch.where(wide, a, b))
    assert torch.equal(pick(mask, a[:, :1, :2], b[:, :1, :2]), torch.where(wide, a, b)[:, :1, :2])


@pytest.mark.parametrize("places", [[], [2], [0, 3], [0, 1, 2, 3]])
def test_rows_are_made_where_they_are_wanted(places: list[int]) -> None:
    """The rows of the mask are made, one alone beside a copy; the others stay as they are."""
    before = _state(4).x
    asked: list[int] = []

    def twice(rows: Tensor | slice) -> Tensor:
        asked.append(len(before[rows]))
        return 2 * before[rows]

    mask = torch.zeros(4, dtype=torch.bool)
    mask[places] = True
    made = made_where(mask, twice, otherwise=before)
    for i in range(4):
        assert torch.equal(made[i], (2 if i in places else 1) * before[i])
    assert len(asked) == (len(places) > 0)
    assert all(count > 1 for count in asked)


@pytest.mark.parametrize("shape", [(0,), (1,), (7,), (5, 1), (300,), (20, 30)])
def test_empty_masks_of_any_size_are_seen(shape: tuple[int, ...]) -> None:
    """Also one value alone that differs, first or last."""
    none, every = torch.zeros(shape, dtype=torch.bool), torch.ones(shape, dtype=torch.bool)
    assert nowhere(none)
    for place in (0, -1) if none.numel() else ():
        for mask in (none.clone(), every.clone()):
            mask.view(-1)[place] ^= True
            assert nowhere(mask) == (not mask.any())


def test_where_asking_would_wait_nothing_is_known() -> None:
    mask = torch.ones(3, dtype=torch.bool, device="meta")
    assert not nowhere(mask)
    assert not finite(mask.float())
    assert any_at(mask.long(), {7})


@pytest.mark.parametrize("n", [0, 1, 7, 300])
def test_one_value_that_is_no_finite_number_is_seen(n: int) -> None:
    """Also where two of them would make a number; large numbers are finite."""
    values = torch.linspace(-1, 1, n) * 3e38
    assert finite(values)
    for place in (0, -1) if n else ():
        for odd in (torch.nan, torch.inf, -torch.inf):
            other = values.clone()
            other[place] = odd
            assert not finite(other)
            assert not finite(torch.cat([other, -other]))


@pytest.mark.parametrize("n", [1, 7, 300])
@pytest.mark.parametrize("odd", [torch.nan, torch.inf, -torch.inf])
def test_a_sum_of_values_that_are_not_all_finite_is_not(n: int, odd: float) -> None:
    values = torch.linspace(-1, 1, n)
    assert finite_sum(values)
    values[n // 2] = odd
    assert not finite_sum(values)
    assert not finite_sum(values.to("meta"))


@pytest.mark.parametrize("n", [1, 3, 300])
def test_one_value_outside_of_an_interval_is_seen(n: int) -> None:
    """Its ends are inside; next to a NaN, before it or after it, as well as alone."""
    values = torch.linspace(-2, 2, n)
    assert between(values, -2, 2)
    assert not between(values.to("meta"), -2, 2)
    for place in (0, -1):
        for outside in (2.5, -2.5, torch.inf, -torch.inf):
            other = values.clone()
            other[place] = outside
            assert not between(other, -2, 2)
            nan = torch.tensor([torch.nan])
            assert not between(torch.cat([nan, other]), -2, 2)
            assert not between(torch.cat([other, nan]), -2, 2)


def test_clocks_are_looked_at_for_some_steps() -> None:
    t = torch.tensor([3, 0, 5])
    assert any_at(t, {0})
    assert any_at(t, {4, 5})
    assert not any_at(t, {1, 2, 4})
