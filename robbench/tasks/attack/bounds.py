"""Queries that a sample which nothing breaks costs at most, attack by attack."""

from __future__ import annotations

import math
from collections.abc import Sequence

from robbench.attacks.base import Attack, AttackEntry


def queries_of_entries(
    entries: Sequence[AttackEntry], classes: int, budgets: int = 1, forwards: int | None = None
) -> list[float | None]:
    """Forwards and backwards of each attack; None for another package's.

    forwards: a limit of all attacks together. A point that the model refuses after all costs one
    look more, which is not in it.
    """
    left = forwards or math.inf
    found: list[float | None] = []
    for entry in entries:
        attack = entry.attack
        if not isinstance(attack, Attack):
            found.append(None)
            continue
        variants = budgets * attack.variants(classes)
        first, back = (budgets * attack.draws * n for n in attack.preparation(classes))
        asked = min(first + variants * (attack.steps + 1) * attack.draws, left)
        moves = min(variants * attack.steps * attack.draws, left)
        left -= asked
        found.append(asked + moves * attack.gradients(classes) + back)
    return found


def looks_of_entries(
    entries: Sequence[AttackEntry], classes: int, budgets: int, *, replay: bool, endless: bool
) -> float:
    """Forwards beside those of the attacks: of the clean input, of claims, of the worst points."""
    own = [entry.attack for entry in entries if isinstance(entry.attack, Attack)]
    trials = sum(budgets * attack.variants(classes) * attack.draws for attack in own)
    draws = max((entry.attack.draws for entry in entries), default=1)
    # A claim that is refused without a budget is tried three times again, farther out.
    return draws * (1 + replay + budgets) + trials * (4 if endless else 1)
