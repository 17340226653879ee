"""Rows: a frozen dataclass of tensors that share their first axis, one row per sample under attack.

Everything an attack knows is in such rows, so that the engine can move a row, refill it or drop it
without asking. A field may be rows again (the state of an attack inside another); fields that are
neither (a norm, a number) belong to all rows and are left alone.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Self, dataclass_transform

import torch
from torch import Tensor

from robbench.core import fused

ALL = slice(None)
_LARGE = 1 << 14  # entries
_FEW = 256  # rows


def lift(values: Tensor, like: Tensor) -> Tensor:
    """View [B] as [B,1,...,1] so that it broadcasts over the rows of `like` [B,*]."""
    return values.reshape(-1, *[1] * (like.ndim - 1))


def nowhere(mask: Tensor) -> bool:
    """Whether a mask is empty, where asking costs next to nothing: a GPU would have to be awaited.

    So only to save work that changes nothing where the mask is empty.
    """
    if not mask.is_cpu:
        return False
    # To list a few values takes a tenth of the time of an operator.
    return not mask.any() if mask.numel() > _FEW else True not in mask.flatten().tolist()


def finite(values: Tensor) -> bool:
    """Whether all values are, where asking costs next to nothing, as for `nowhere`."""
    if not values.is_cpu:
        return False
    if values.numel() > _FEW:
        return bool(values.isfinite().all())
    return math.isfinite(sum(values.flatten().tolist()))  # also not where only the sum is not


def finite_sum(values: Tensor) -> bool:
    """Whether the sum of values is, so that all of them are; asked as `nowhere` asks."""
    return values.is_cpu and math.isfinite(values.sum().item())


def between(values: Tensor, low: float, high: float) -> bool:
    """Whether all values are in [low, high], where asking costs next to nothing, as for `nowhere`.

    NaN may go unnoticed, but hides no other value.
    """
    if not values.is_cpu or not values.numel():
        return False
    if values.numel() > _FEW:
        return not ((values < low) | (values > high)).any()
    listed = values.flatten().tolist()
    return bool(min(listed) >= low and max(listed) <= high)


def any_at(t: Tensor, steps: AbstractSet[int]) -> bool:
    """Whether a row may be at one of some steps, by the rows' clocks t [B].

    On a GPU it may, as for `nowhere`.
    """
    return not t.is_cpu or not steps.isdisjoint(t.tolist())


def pick(mask: Tensor, a: Tensor | float, b: Tensor | float) -> Tensor:
    """Row-wise choice: where mask [B], `a`, else `b`; each is [B,*], [B] or a number.

    The result may be `a` or `b` itself.
    """
    if isinstance(a, Tensor) and isinstance(b, Tensor) and _large_alike(a, b):
        if mask.shape == b.shape[:1] and fused.fusable(b, a):
            return fused.pick(mask, a, b)
        rows = mask.nonzero().squeeze(1)
        chosen = rows.numel()  # len() of a tensor takes longer
        if chosen in (0, mask.numel()):
            return a if chosen else b
        return b.index_copy(0, rows, a.index_select(0, rows))
    wide = next((value for value in (a, b) if isinstance(value, Tensor) and value.ndim > 1), mask)
    if wide is mask:
        return torch.where(mask, a, b)
    a, b = (lift(v, wide) if isinstance(v, Tensor) and v.ndim < wide.ndim else v for v in (a, b))
    return torch.where(lift(mask, wide), a, b)


def made_where(mask: Tensor, make: Callable[[Tensor | slice], Tensor], otherwise: Tensor) -> Tensor:
    """Row-wise: where mask [B], what `make` gives for these rows, else `otherwise` [B,*].

    On a GPU `make` is asked for all rows, as to know which would make the host wait.
    """
    if not mask.is_cpu:
        return pick(mask, make(ALL), otherwise)
    rows = mask.nonzero()[:, 0]
    if len(rows) == 0:
        return otherwise
    if len(rows) == len(mask):
        return make(ALL)
    # Never a row alone: its sums may be split among threads, and round otherwise.
    return otherwise.index_copy(0, rows, make(torch.cat([rows, rows[:1]]))[: len(rows)])


def _large_alike(a: Tensor, b: Tensor) -> bool:
    """Whether it is faster to ask which rows differ, and to copy only these."""
    return a.numel() >= _LARGE and a.is_cpu and a.shape == b.shape and a.dtype == b.dtype


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Rows:
    """Base class: subclasses become frozen keyword-only dataclasses on their own."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclasses.dataclass(frozen=True, kw_only=True, eq=False)(cls)

    def map(self, change: Callable[..., Tensor], *others: Self) -> Self:
        """A copy with `change` applied to every tensor and to those of `others` in its place."""
        fields: dict[str, Any] = {}
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                fields[name] = change(value, *[getattr(other, name) for other in others])
            elif isinstance(value, Rows):
                fields[name] = value.map(change, *[getattr(other, name) for other in others])
        return self.replace(**fields)

    def tensors(self) -> dict[str, Tensor]:
        """The tensor fields by name, without those of nested rows."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

    def __len__(self) -> int:
        return len(next(value for value in vars(self).values() if isinstance(value, Tensor | Rows)))

    def take(self, index: Tensor | slice) -> Self:
        """The rows at `index` (a view for a slice, a copy otherwise)."""
        if index is ALL:
            return self
        return self.map(lambda value: value[index])

    def choose(self, mask: Tensor, other: Self) -> Self:
        """Row-wise choice over all fields: where mask [B], these rows, else those of `other`."""
        return self.map(lambda mine, theirs: pick(mask, mine, theirs), other)

    def replace(self, **changes: Any) -> Self:
        """A copy with other values in some fields."""
        if unknown := changes.keys() - vars(self).keys():
            raise TypeError(f"{type(self).__name__} has no {', '.join(sorted(unknown))}")
        copy = object.__new__(type(self))  # ten times as fast as dataclasses.replace
        vars(copy).update(vars(self) | changes)
        return copy

    def where(self, mask: Tensor, **changes: Tensor) -> Self:
        """A copy where the rows of `mask` take the new values."""
        if nowhere(mask):
            return self
        return self.replace(
            **{name: pick(mask, value, getattr(self, name)) for name, value in changes.items()}
        )

    @classmethod
    def concat(cls, parts: Sequence[Self]) -> Self:
        """Join rows; fields that are not tensors are taken from the first part."""
        return parts[0].map(lambda *columns: torch.cat(columns), *parts[1:])
