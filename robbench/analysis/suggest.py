"""The cascade that breaks most per query: chosen greedily on some samples, judged on the others.

As AutoAE builds its cascades (Liu, Peng and Tang 2023, arXiv:2211.12713): add the attack and length
that newly break most samples per query of all that are left, until none breaks another. Here an
attack may be cut where the shorter one is its beginning (`AnyAttack.cuts`), and one that the others
make superfluous is dropped again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robbench.analysis.candidates import Candidate, Outcome, outcome, walk
from robbench.analysis.greedy import greedy
from robbench.analysis.tried import BROKE, UNKNOWN, Bools, Ints, Tried, Whole
from robbench.core.errors import UserError
from robbench.statistics.proportions import clopper_pearson, mcnemar_exact

FEWEST = 20
"""Attacked samples that either half needs."""
LOOKS = 2  # forwards beside the attacks': the clean input, and the worst point again


class Entry(NamedTuple):
    """An attack of the suggestion.

    seen, broke, of: samples that chose, on which its outcome is known, that it broke, and that it
    was made on. forward, backward: what it costs a survivor.
    """

    spec: str
    cut: bool
    seen: int
    of: int
    broke: int
    forward: int
    backward: int


class Judged(NamedTuple):
    """A cascade on held-out samples: queries of a survivor and of a sample, None where not known.

    suggestion: robust accuracy of the suggested cascade on the same. only_it and only_suggestion:
    samples that one of them alone broke; p: McNemar's exact test.
    """

    name: str
    n: int
    robust_accuracy: float
    survivor: tuple[float, float] | None
    sample: tuple[float, float] | None
    suggestion: float
    only_it: int
    only_suggestion: int
    p: float


class Suggestion(NamedTuple):
    """A cascade, the samples that chose it and what the others say of it.

    candidates: the whole attacks of the runs, on all samples that chose. it: the cascade itself;
    union: all runs together; originals: each list of attacks that was run.
    missed: held-out samples that some run broke and it does not; unseen: those of them on which the
    outcome of one of its attacks is not known. missed_high: upper end of the one-sided 95 %
    (Clopper-Pearson) interval of the share missed.
    """

    attacks: tuple[str, ...]
    entries: tuple[Entry, ...]
    candidates: tuple[Entry, ...]
    chosen_on: int
    judged_on: int
    seed: int
    it: Judged
    union: Judged
    originals: tuple[Judged, ...]
    missed: int
    unseen: int
    missed_high: float


def suggest(
    known: Tried, candidates: Sequence[Candidate], *, max_queries: int | None = None, seed: int = 0
) -> Suggestion:
    """The greedy cascade, of at most `max_queries` (F + B) per survivor, and how well it does.

    Raises UserError for too few samples, and as `greedy` does.
    """
    first = first_half(known.sample_id, seed)
    sides = [side & ~known.wrong for side in (first, ~first)]
    if min(side.sum() for side in sides) < FEWEST:
        raise UserError(
            f"{sides[0].sum()} samples would choose the cascade and {sides[1].sum()} judge it, of "
            f"those that runs attacked; {FEWEST} each are needed: attack more"
        )
    outcomes = {one: outcome(known, one) for one in candidates}
    picked = greedy(outcomes, sides[0], max_queries)
    attacked, left = [], sides[0]
    for one in picked:
        attacked.append(_entry(one, outcomes[one], left))
        left = left & ~outcomes[one].broke
    fell, forward, backward = walk([outcomes[one] for one in picked])
    held = ~first
    fell = fell | known.wrong
    cost = np.where(known.wrong, 1, forward + LOOKS), np.where(known.wrong, 0, backward)
    missed = held & known.broken & ~fell
    unseen = missed & ~np.all([outcomes[one].seen for one in picked], axis=0)
    return Suggestion(
        attacks=tuple(one.spec for one in picked),
        entries=tuple(attacked),
        candidates=tuple(_entry(one, outcomes[one], sides[0]) for one in candidates if not one.cut),
        chosen_on=int(first.sum()),
        judged_on=int(held.sum()),
        seed=seed,
        it=_judged("suggestion", held, fell, fell, cost),
        union=_judged("all runs together", held, known.broken, fell, None),
        originals=tuple(_of_run(whole, held, fell) for whole in known.wholes),
        missed=int(missed.sum()),
        unseen=int(unseen.sum()),
        missed_high=clopper_pearson(int(missed.sum()), int(held.sum()), 0.9)[1],
    )


def first_half(sample_ids: NDArray[np.int64], seed: int) -> Bools:
    """[N] whether a sample chooses: of the different ids the half of smaller hash with the seed."""
    ids = set(sample_ids.tolist())
    ranked = sorted(ids, key=lambda i: hashlib.blake2b(f"{seed}:{i}".encode()).digest())
    return np.isin(sample_ids, ranked[: (len(ranked) + 1) // 2])


def _entry(one: Candidate, found: Outcome, left: Bools) -> Entry:
    forward, backward = max((price.whole for price in one.prices.values()), key=sum)
    return Entry(
        one.spec,
        one.cut,
        int((found.seen & left).sum()),
        int(left.sum()),
        int((found.broke & left).sum()),
        forward,
        backward,
    )


def _of_run(whole: Whole, held: Bools, fell: Bools) -> Judged:
    mine = held & (whole.state != UNKNOWN)
    cost = None if whole.dear else (whole.forward, whole.backward)
    return _judged(whole.name, mine, whole.state == BROKE, fell, cost)


def _judged(
    name: str, mine: Bools, broken: Bools, suggestion: Bools, cost: tuple[Ints, Ints] | None
) -> Judged:
    """On the pairs of `mine`; queries are means."""
    n = int(mine.sum())
    only_it = int((mine & broken & ~suggestion).sum())
    only_suggestion = int((mine & suggestion & ~broken).sum())
    return Judged(
        name,
        n,
        1 - float(broken[mine].mean()) if n else float("nan"),
        _mean(cost, mine & ~broken),
        _mean(cost, mine),
        1 - float(suggestion[mine].mean()) if n else float("nan"),
        only_it,
        only_suggestion,
        mcnemar_exact(only_it, only_suggestion),
    )


def _mean(cost: tuple[Ints, Ints] | None, which: Bools) -> tuple[float, float] | None:
    if cost is None or not which.any():
        return None
    return float(cost[0][which].mean()), float(cost[1][which].mean())
