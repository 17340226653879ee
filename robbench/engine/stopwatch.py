"""How long a model and the steps of attacks take here: measured before a run, to tell its time.

What is asked for it is no query of an attack. Whoever measures freezes the model, which puts random
states and buffers back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from robbench.attacks.base import AnyRowAttack, Attack, AttackEntry
from robbench.core.access import access_of
from robbench.core.tiles import Model, Tiles, largest_tile
from robbench.data.base import Split
from robbench.engine.oracle import ModelOracle, blank_book
from robbench.engine.pool import Pool, stream_of
from robbench.threat.model import ThreatModel

SECONDS = 1.0  # that measuring may take, of a model that is not huge
REPETITIONS = 5

Clock = Callable[[], float]


class Pace(NamedTuple):
    """Seconds per row: of a forward, of a backward, and of a step of each attack.

    A step is None where it was not tried: of another package's attack, and where the model alone
    took the time there was.
    """

    forward: float
    backward: float
    steps: tuple[float | None, ...]

    def step(self, n: int, gradients: int, draws: int) -> float:
        """Seconds per row of a step of attack n, with so many gradients a query and draws."""
        step = self.steps[n]
        return draws * (self.forward + gradients * self.backward) if step is None else step


def measure_pace(
    model: Model,
    split: Split,
    threats: Sequence[ThreatModel],
    entries: Sequence[AttackEntry],
    *,
    seed: int,
    width: int,
    clock: Clock = time.perf_counter,
) -> Pace:
    """Time a frozen model on the first samples of a split, in the shapes of an attack.

    A forward and a backward of one tile; if that leaves time, a few warm steps of each attack at
    its width, which count its own arithmetic too.
    """
    device = split.labels.device
    tiles = largest_tile(device, split.images.shape[1:])
    began = clock()
    small = split.pixels(slice(0, tiles.step))
    forward, backward = _both(model, small, 1, clock)
    if 2 * (1 + len(entries)) * tiles.rows * (forward + backward) > SECONDS:
        return Pace(forward, backward, (None,) * len(entries))
    forward, backward = _both(model, split.pixels(slice(0, tiles.rows)), REPETITIONS, clock)
    if not entries:
        return Pace(forward, backward, ())
    first = split.take(torch.arange(min(width, len(split)), device=device))
    pool = Pool.of(first, threats, model, seed=seed, tiles=tiles)
    steps: list[float | None] = []
    for entry in entries:
        left = max(SECONDS - (clock() - began), 0.0) / (len(entries) - len(steps))
        own = isinstance(entry.attack, Attack)
        steps.append(_step(entry, model, pool, tiles, left, clock) if own else None)
    return Pace(forward, backward, tuple(steps))


def _both(model: Model, x: Tensor, repetitions: int, clock: Clock) -> tuple[float, float]:
    """Seconds per row of a forward, and of what a gradient takes beyond it."""

    def ask() -> None:
        with torch.no_grad():
            model(x)

    if access_of(model) != "white-box":
        return _timed(ask, x.device, SECONDS / 10, repetitions, clock) / len(x), 0.0

    def climb() -> None:
        leaf = x.detach().requires_grad_()
        with torch.enable_grad():
            best = model(leaf).amax(1).sum()
        if best.requires_grad:
            torch.autograd.grad(best, leaf, allow_unused=True)

    alone, with_gradient = (
        _timed(work, x.device, SECONDS / 10, repetitions, clock) / len(x) for work in (ask, climb)
    )
    return alone, max(with_gradient - alone, 0.0)


def _step(
    entry: AttackEntry, model: Model, pool: Pool, tiles: Tiles, seconds: float, clock: Clock
) -> float:
    """Seconds per row of a step of an attack, at its first steps on all samples of a pool."""
    attack: AnyRowAttack = entry.attack  # type: ignore[assignment]
    rows = torch.arange(len(pool.split), device=pool.device)
    rows = torch.cat([rows, rows[:1].expand(tiles.padded(len(rows)) - len(rows))])
    p = attack.vary(pool.problem(rows, stream_of(entry.spec)), torch.zeros_like(rows))
    state, book, t = attack.start(p), blank_book(p), torch.zeros_like(rows)
    oracle = ModelOracle(model, tiles, attack.draws)
    active, most = torch.ones_like(rows, dtype=torch.bool), torch.full_like(rows, attack.steps)

    def work() -> None:
        nonlocal state, book, t
        state, book = oracle.step(attack, state, p, book, t, active, most)
        t = (t + 1).clamp(max=attack.steps - 1)

    return _timed(work, pool.device, seconds, REPETITIONS, clock) / len(rows)


def _timed(
    work: Callable[[], None], device: torch.device, seconds: float, repetitions: int, clock: Clock
) -> float:
    """Seconds of one call: the fastest of those after the first, as many as `seconds` allow.

    The first call warms up, and what else runs on the machine only makes a call longer. So there is
    a second one unless the first took very long.
    """
    took: list[float] = []
    while True:
        began = clock()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        took.append(clock() - began)
        allowed = SECONDS if len(took) == 1 else seconds
        if len(took) > repetitions or sum(took) + took[-1] >= allowed:
            return min(took[1:] or took)
