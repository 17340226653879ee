"""Which run of a table is the best, if the paired test can tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

ALPHA = 0.05


def best_of(
    scores: Sequence[float], p_value: Callable[[int, int], float], alpha: float = ALPHA
) -> int | None:
    """The index of the score significantly above every other one, else None.

    A single score is not the best of anything. p_value(i, j) is that of the paired test of two of
    them. Which one is highest is seen in the same data, so the correction of Holm is over all
    pairs, not only over those with the highest: the chance of naming any that is not better than
    some other is at most alpha, in (0,1).
    """
    from robbench.statistics.proportions import holm

    k = len(scores)
    if k < 2:
        return None
    best = max(range(k), key=scores.__getitem__)
    mine = [p_value(best, other) for other in range(k) if other != best]
    pairs = k * (k - 1) // 2
    # What Bonferroni's correction grants, Holm's does; spares the other pairs.
    if max(mine) * pairs <= alpha:
        return best
    if max(mine) > alpha:
        return None
    among = [pair for pair in combinations(range(k), 2) if best not in pair]
    adjusted = holm([*mine, *(p_value(*pair) for pair in among)])
    return best if max(adjusted[: len(mine)]) <= alpha else None
