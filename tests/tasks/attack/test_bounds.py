"""The most queries an attack can need, by hand."""

from __future__ import annotations

import pytest

from robbench.attacks.base import AttackEntry
from robbench.catalogue.builtins import ATTACKS
from robbench.tasks.attack.bounds import queries_of_entries


@pytest.mark.parametrize(
    ("spec", "classes", "budgets", "queries"),
    [
        ("pgd:steps=4,restarts=2", 10, 1, 2 * 5 + 2 * 4),
        ("apgd-t:steps=4,targets=3", 10, 1, 3 * 5 + 3 * 4),
        ("apgd-t:steps=4,targets=3,order=distance", 10, 1, 3 * 5 + 3 * 4 + 1 + 10),
        ("apgd-t:steps=4,targets=3,order=distance", 10, 2, 2 * (3 * 5 + 3 * 4 + 1 + 10)),
        # Nine classes at a time, each time with the label.
        ("apgd-t:steps=4,targets=3,order=distance", 21, 1, 3 * 5 + 3 * 4 + 3 + 23),
        ("eot:attack=(apgd-t:steps=4,targets=3,order=distance),draws=2", 10, 1, 2 * 38),
    ],
)
def test_queries_by_hand(spec: str, classes: int, budgets: int, queries: int) -> None:
    """Forwards and backwards of all variants, and of ranking the targets."""
    entry = AttackEntry(ATTACKS.canonical(spec), ATTACKS.build(spec))
    assert queries_of_entries([entry], classes, budgets) == [queries]
