"""What a run's rows, and its attack, say of the samples."""

from __future__ import annotations

from collections.abc import Callable

N = 60


PGD = "pgd:steps=20"


def some(n: int, yes: object, no: object = None) -> list:
    """The first n samples are one thing, the others another."""
    return [yes] * n + [no] * (N - n)


def fell(n: int, spec: str = PGD, **columns: list) -> dict:
    """The first n samples fell to an attack."""
    return {"adversarial": some(n, True, False), "broken_by": some(n, spec), **columns}


def test_what_a_run_left_standing_is_what_challengers_see(
    linear, evidence: Callable, run_of: Callable
) -> None:
    """Rows are trusted: no attack is run again, and misclassified samples do not count."""
    e = evidence(linear(), **run_of(**fell(20), clean_correct=some(5, False, True)))
    assert e.reference.tolist() == some(5, False, False)[:5] + [True] * 15 + [False] * 40
    assert e.standing.tolist() == [False] * 20 + [True] * 40
    assert e.n_forward == e.n_backward == 0
