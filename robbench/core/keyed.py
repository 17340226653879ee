"""Random numbers as a function of (key, counter), never of a global generator.

A sample's key comes from the run's seed and the sample's own id, so its random start is the same
for any batch width, order, shard or resume. Each number is SplitMix64 (Steele, Lea and Flood 2014)
of key, counter and position; 64-bit integer products wrap around in torch as they do in C.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from robbench.core import fused
from robbench.core.rows import Rows

_GAMMA, _M1, _M2 = (
    value - (1 << 64) for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)


def mix(z: Tensor) -> Tensor:
    """SplitMix64's step and finaliser on int64, element-wise."""
    z = _stirred(z + _GAMMA)
    return z.bitwise_xor_(_shift(z, 31))


def fold(key: Tensor, value: Tensor | int) -> Tensor:
    """A new key [B] from a key [B] and a number or numbers [B]."""
    other = value if isinstance(value, Tensor) else torch.full_like(key, value)
    return mix(key ^ mix(other.to(torch.int64)))


def uniform(
    key: Tensor,
    shape: torch.Size | tuple[int, ...],
    counter: int = 0,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """[B,*shape] uniform on [0, 1), 24 bits each."""
    folded, n = fold(key, counter), math.prod(shape)
    if fused.draws(key, dtype or torch.float32):
        return fused.uniform(folded, n).reshape(len(key), *shape)
    position = mix(torch.arange(n, device=key.device))
    bits = _stirred((folded[:, None] ^ position).add_(_GAMMA))
    numbers = _shift(bits, 40).to(dtype or torch.float32)
    return numbers.mul_(2.0**-24).reshape(len(key), *shape)


def normal(
    key: Tensor,
    shape: torch.Size | tuple[int, ...],
    counter: int = 0,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """[B,*shape] standard normal, by Box and Muller from two uniforms."""
    radius = torch.sqrt(-2 * torch.log1p(-uniform(key, shape, 2 * counter, dtype)))
    return radius * torch.cos(2 * math.pi * uniform(key, shape, 2 * counter + 1, dtype))


class Block(Rows):
    """What a function of key and step gives at many steps of each row, computed at once.

    Many operators on few numbers: those of LENGTH steps cost little more than those of one.
    """

    LENGTH: ClassVar[int] = 64
    INSIDE: ClassVar[frozenset[int]] = frozenset(range(LENGTH))

    values: Tensor  # [B,LENGTH,n]
    begin: Tensor  # [B] int64: the step of the first of them

    @classmethod
    def blank(cls, key: Tensor, n: int, dtype: torch.dtype) -> Block:
        """Of rows with keys [B], for n values at each step; none is known yet."""
        values = torch.zeros(len(key), cls.LENGTH, n, dtype=dtype, device=key.device)
        return cls(values=values, begin=torch.full_like(key, -cls.LENGTH))

    def at(
        self, t: Tensor, key: Tensor, draw: Callable[[Tensor, Tensor], Tensor]
    ) -> tuple[Tensor, Block]:
        """The values [B,n] of each row's step t [B] >= 0, and the block that holds them.

        `draw(key, t)` gives the values [R,n] for keys [R] at steps [R].
        """
        if not t.is_cpu:  # who needs another block: asking would make the host wait
            return draw(key, t), self
        place, block = t - self.begin, self
        places = set(place.tolist())
        if not places <= self.INSIDE:
            rows = (place & -self.LENGTH).nonzero()[:, 0]
            steps = t[rows, None] + torch.arange(self.LENGTH)
            drawn = draw(key[rows, None].expand_as(steps).flatten(), steps.flatten())
            block = self.replace(
                values=self.values.index_copy(0, rows, drawn.reshape(len(rows), self.LENGTH, -1)),
                begin=self.begin.index_copy(0, rows, t[rows]),
            )
            place = t - block.begin
            places = set(place.tolist())
        if len(places) == 1:  # as long as all rows have begun together
            return block.values[:, places.pop()], block
        return block.values[torch.arange(len(t)), place], block


def _stirred(z: Tensor) -> Tensor:
    """SplitMix64's finaliser, in place, without its last step, which keeps the upper 31 bits."""
    z.bitwise_xor_(_shift(z, 30)).mul_(_M1)
    return z.bitwise_xor_(_shift(z, 27)).mul_(_M2)


def _shift(z: Tensor, bits: int) -> Tensor:
    """Logical right shift: int64's own shift would copy the sign."""
    return (z >> bits).bitwise_and_((1 << (64 - bits)) - 1)
