"""Attacks that a cascade may have: what they cost, and what they do to the samples of runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robbench.analysis.tried import BROKE, UNKNOWN, Bools, Ints, Tried


class Price(NamedTuple):
    """What an attack costs on a model of so many classes: queries, as they are made.

    before: forwards and backwards once per sample. forward: of a query; backward: of a move. A
    variant makes `steps` moves and one query more.
    """

    variants: int
    steps: int
    forward: int
    backward: int
    before: tuple[int, int] = (0, 0)

    def queries(self, variant: Any, step: Any) -> tuple[Any, Any]:
        """Forwards and backwards up to the success at a variant and step, numbers or arrays."""
        f, b = self.before
        step = np.minimum(step, self.steps)
        forward = variant * (self.steps + 1) + step + 1
        backward = variant * self.steps + np.minimum(step + 1, self.steps)
        return f + self.forward * forward, b + self.forward * self.backward * backward

    @property
    def whole(self) -> tuple[int, int]:
        """Forwards and backwards of a sample that it does not break."""
        forward, backward = self.queries(self.variants - 1, self.steps)
        return int(forward), int(backward)


@dataclasses.dataclass(frozen=True, eq=False)
class Candidate:
    """An attack that may be in the cascade: one that was run (`source`, in full), or its beginning.

    prices: by number of classes.
    """

    spec: str
    source: str
    prices: Mapping[int, Price]
    cut: bool = False

    @property
    def most(self) -> int:
        """Forwards and backwards of a sample at most."""
        return max(sum(price.whole) for price in self.prices.values())


class Outcome(NamedTuple):
    """What a candidate does to each pair; all [N]. forward, backward: what that costs."""

    seen: Bools
    broke: Bools
    forward: Ints
    backward: Ints


def outcome(known: Tried, one: Candidate) -> Outcome:
    """What a candidate does to each pair: nothing, at its whole cost, where that is not known."""
    at = known.attacks.index(one.source)
    state, variant, step = known.state[:, at], known.variant[:, at], known.step[:, at]
    broke = np.zeros(len(state), bool)
    forward, backward = np.zeros(len(state), np.int64), np.zeros(len(state), np.int64)
    for classes, price in one.prices.items():
        mine = known.classes == classes
        inside = (variant < price.variants) & (step <= price.steps) if one.cut else True
        hit = mine & (state == BROKE) & inside
        broke |= hit
        for total, whole, until in zip(
            (forward, backward), price.whole, price.queries(variant, step), strict=True
        ):
            total[mine] = np.where(hit, until, whole)[mine]
    return Outcome(state != UNKNOWN, broke, forward, backward)


def walk(path: Sequence[Outcome]) -> tuple[Bools, NDArray[np.int64], NDArray[np.int64]]:
    """Broken [N], forwards and backwards [N] of all samples on their way through a cascade."""
    n = len(path[0].broke) if path else 0
    broken, forward, backward = np.zeros(n, bool), np.zeros(n, np.int64), np.zeros(n, np.int64)
    for one in path:
        forward += np.where(broken, 0, one.forward)
        backward += np.where(broken, 0, one.backward)
        broken = broken | one.broke
    return broken, forward, backward
