"""Rows: a frozen dataclass of tensors that share their first axis, one row per sample under attack.

Everything an attack knows is in such rows, so that the engine can move a row, refill it or drop it
without asking. A field may be rows again (the state of an attack inside another); fields that are
neither (a norm, a number) belong to all rows and are left alone.
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

    def map(self, change: Callable[..., Tensor], *others: Self) -> Self:
        """A copy with `change` applied to every tensor and to those of `others` in its place."""
        fields: dict[str, Any] = {}
        for name, value in vars(self).items():
            rest = [getattr(other, name) for other in others]
            if isinstance(value, Rows):
                fields[name] = value.map(change, *rest)
            elif isinstance(value, Tensor):
                fields[name] = change(value, *rest)
        return self.replace(**fields)

    def tensors(self) -> dict[str, Tensor]:
        """The tensor fields by name, without those of nested rows."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

    def __len__(self) -> int:
        return len(next(value for value in vars(self).values() if isinstance(value, Tensor | Rows)))

    def take(self, index: Tensor | slice) -> Self:
        """The rows at `index` (a view for a slice, a copy otherwise)."""
        return self.map(lambda value: value[index])

    def choose(self, mask: Tensor, other: Self) -> Self:
        """Row-wise choice over all fields: where mask [B], these rows, else those of `other`."""
        return self.map(lambda mine, theirs: pick(mask, mine, theirs), other)

    def replace(self, **changes: Any) -> Self:
        """A copy with other values in some fields."""
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]

    def where(self, mask: Tensor, **changes: Tensor) -> Self:
        """A copy where the rows of `mask` take the new values."""
        return self.replace(
            **{name: pick(mask, value, getattr(self, name)) for name, value in changes.items()}
        )

    @classmethod
    def concat(cls, parts: Sequence[Self]) -> Self:
        """Join rows; fields that are not tensors are taken from the first part."""
        return parts[0].map(lambda *columns: torch.cat(columns), *parts[1:])
