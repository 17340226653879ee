"""The attacks that break most samples per query, one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from robbench.analysis.candidates import Candidate, Outcome, walk
from robbench.analysis.tried import Bools
from robbench.core.errors import UserError


def greedy(
    outcomes: Mapping[Candidate, Outcome], side: Bools, limit: int | None
) -> list[Candidate]:
    """Candidates in their order, on the samples of one side.

    limit: of queries per survivor. Raises UserError where nothing was broken, and for a limit below
    any attack.
    """
    if not any((one.broke & side).any() for one in outcomes.values()):
        raise UserError("no attack of these runs broke a sample: there is nothing to choose by")
    if limit is not None and (least := min(outcomes, key=lambda one: one.most)).most > limit:
        raise UserError(
            f"no attack fits in {limit} queries per survivor; the cheapest, {least.spec}, takes "
            f"{least.most}: raise --max-queries"
        )
    picked: list[Candidate] = []
    while True:
        left = side & ~walk([outcomes[one] for one in picked])[0] if picked else side
        rates = {one: _rate(outcomes[one], left) for one in outcomes}
        ranked = sorted(
            (one for one in outcomes if rates[one] > 0),
            key=lambda one: (-rates[one], one.most, one.spec),
        )
        for one in ranked:
            more = _needed([*picked, one], outcomes, side)
            if limit is None or sum(each.most for each in more) <= limit:
                picked = more
                break
        else:
            return picked


def _rate(found: Outcome, left: Bools) -> float:
    """Newly broken samples per query of all that are left."""
    gained = int((found.broke & left).sum())
    return gained / int((found.forward + found.backward)[left].sum()) if gained else 0.0


def _needed(
    picked: list[Candidate], outcomes: Mapping[Candidate, Outcome], side: Bools
) -> list[Candidate]:
    """Without the attacks whose samples the later ones break, too, for no more queries in all."""
    broken, cost = _figures(picked, outcomes, side)
    for one in picked[:-1]:
        others = [each for each in picked if each is not one]
        same, less = _figures(others, outcomes, side)
        if same == broken and less <= cost:
            return _needed(others, outcomes, side)
    return picked


def _figures(
    picked: Sequence[Candidate], outcomes: Mapping[Candidate, Outcome], side: Bools
) -> tuple[int, int]:
    """How many samples of a side are broken, and queries of all."""
    broken, forward, backward = walk([outcomes[one] for one in picked])
    return int((broken & side).sum()), int((forward + backward)[side].sum())
