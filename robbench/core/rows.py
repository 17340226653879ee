"""Rows: a frozen dataclass of tensors that share their first axis, one row per sample under attack.

Everything an attack knows is in such rows, so that the engine can move a row, refill it or drop it without asking.
Fields that are not tensors (a norm, a number) belong to all rows and are left alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Self, dataclass_transform

import torch
from torch import Tensor


def lift(values: Tensor, like: Tensor) -> Tensor:
    """View [B] as [B,1,...,1] so that it broadcasts over the rows of `like` [B,*]."""
    return values.reshape(-1, *[1] * (like.ndim - 1))


def pick(mask: Tensor, a: Tensor | float, b: Tensor | float) -> Tensor:
    """Row-wise choice: where mask [B], `a`, else `b`; each is [B,*], [B] or a number."""
    wide = next((value for value in (a, b) if isinstance(value, Tensor) and value.ndim > 1), mask)
    a, b = (lift(v, wide) if isinstance(v, Tensor) and v.ndim < wide.ndim else v for v in (a, b))
    chosen: Tensor = torch.where(lift(mask, wide), a, b)
    return chosen


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Rows:
    """Base class: subclasses become frozen keyword-only dataclasses on their own."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclasses.dataclass(frozen=True, kw_only=True, eq=False)(cls)

    def _map(self, change: Callable[[str, Tensor], Tensor]) -> Self:
        return dataclasses.replace(self, **{name: change(name, value) for name, value in self.tensors().items()})  # type: ignore[type-var]

    def tensors(self) -> dict[str, Tensor]:
        """The tensor fields by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

    def __len__(self) -> int:
        return len(next(iter(self.tensors().values())))

    def take(self, index: Tensor | slice) -> Self:
        """The rows at `index` (a view for a slice, a copy otherwise)."""
        return self._map(lambda _, value: value[index])

    def replace(self, **changes: Any) -> Self:
        """A copy with other values in some fields."""
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]

    def where(self, mask: Tensor, **changes: Tensor) -> Self:
        """A copy where the rows of `mask` take the new values."""
        return self.replace(**{name: pick(mask, value, getattr(self, name)) for name, value in changes.items()})

    @classmethod
    def concat(cls, parts: Sequence[Self]) -> Self:
        """Join rows; fields that are not tensors are taken from the first part."""
        return parts[0]._map(lambda name, _: torch.cat([getattr(part, name) for part in parts]))
