"""Robust accuracy while samples are undecided: its certain bounds, those of its interval."""

from __future__ import annotations

from typing import NamedTuple

from robbench.statistics.proportions import wilson


class SoFar(NamedTuple):
    """Bounds in [0,1]: of this run's robust accuracy, and of its 95 % interval at the end.

    Samples that fall early are decided early, so the share among the decided ones is far too low.
    Certain is only that every undecided sample is robust or is not.
    """

    low: float
    high: float
    interval_low: float
    interval_high: float


def so_far(robust: int, broken: int, samples: int) -> SoFar:
    """From the numbers of samples that are decided either way, of so many.

    The interval runs from the lower end of Wilson's if all undecided samples fall to the upper end
    if none does. Raises ValueError unless there are so many.
    """
    if min(robust, broken) < 0 or robust + broken > samples:
        raise ValueError(f"{robust} robust and {broken} broken of {samples} samples")
    low, high = robust, samples - broken
    return SoFar(
        low / max(samples, 1),
        high / max(samples, 1),
        wilson(low, samples)[0],
        wilson(high, samples)[1],
    )
