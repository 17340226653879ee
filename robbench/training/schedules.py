"""Learning-rate schedules: factors in [0,1] as functions of the share of training done."""

from __future__ import annotations

import math
from collections.abc import Callable

RISE = 0.3


def constant(progress: float) -> float:
    """Always 1."""
    return 1.0


def cosine(progress: float) -> float:
    """From 1 to 0 along half a cosine (Loshchilov and Hutter 2017)."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def one_cycle(progress: float) -> float:
    """Linearly up to 1 during the first 30 %, then linearly down to 0 (Smith 2018)."""
    return progress / RISE if progress < RISE else (1 - progress) / (1 - RISE)


def cyclic(progress: float) -> float:
    """Linearly up to 1 during the first half, then linearly down to 0 (Smith 2017)."""
    return 2 * min(progress, 1 - progress)


def piecewise(progress: float) -> float:
    """1, then 0.1 from half, then 0.01 from three quarters of training (Rice et al. 2020)."""
    return 1.0 if progress < 0.5 else 0.1 if progress < 0.75 else 0.01


def linear(progress: float) -> float:
    """Linearly from 1 down to 0."""
    return 1 - progress


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": constant,
    "cosine": cosine,
    "linear": linear,
    "one-cycle": one_cycle,
    "cyclic": cyclic,
    "piecewise": piecewise,
}
