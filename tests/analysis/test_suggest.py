"""A suggestion is judged on samples that did not choose it; its figures are counted again here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from robbench.analysis.candidates import Candidate, Price
from robbench.analysis.suggest import Suggestion, first_half, suggest
from robbench.analysis.tried import BROKE, FAILED, UNKNOWN, Tried, Whole
from robbench.core.errors import UserError

N = 400
A = Candidate("a", "a:full", {3: Price(1, 4, 1, 1)})
B = Candidate("b", "b:full", {3: Price(2, 9, 1, 0)})


@pytest.fixture
def known() -> Tried:
    """One run of a on all, one of b on every second sample; one sample in ten is wrong anyway."""
    draw = np.random.default_rng(0)
    ids = draw.permutation(10_000)[:N]
    wrong = np.arange(N) % 10 == 0
    state = np.where(draw.random((N, 2)) < [0.4, 0.5], BROKE, FAILED)
    state[1::2, 1] = UNKNOWN
    state[wrong] = UNKNOWN
    step = draw.integers(0, 5, (N, 2))
    variant = np.zeros((N, 2), np.int64)
    cost = draw.integers(1, 50, N)
    wholes = tuple(
        Whole(name, np.where(wrong, BROKE, state[:, k]), cost, cost, dear=k == 1)
        for k, name in enumerate("ab")
    )
    three = np.full(N, 3)
    return Tried(ids, three, wrong, ("a:full", "b:full"), state, variant, step, wholes, left_out=0)


def _held(known: Tried, seed: int = 0) -> Any:
    return ~first_half(known.sample_id, seed)


def test_halves() -> None:
    """Each sample is in one, in any order and for all models; another seed makes others."""
    ids = np.arange(101)
    half = first_half(ids, 0)
    assert half.sum() == 51
    assert np.array_equal(first_half(ids[::-1], 0), half[::-1])
    assert np.array_equal(first_half(np.repeat(ids, 2), 0), np.repeat(half, 2))
    assert not np.array_equal(first_half(ids, 1), half)


def test_the_figures(known: Tried) -> None:
    """Robust accuracy, queries and who misses what, from the states of the held-out half."""
    found, held = suggest(known, [A, B]), _held(known)
    assert set(found.attacks) == {"a", "b"}
    a, b = (known.state[held, k] == BROKE for k in (0, 1))
    fell = a | b | known.wrong[held]
    assert found.judged_on == held.sum() == N / 2
    assert found.it.robust_accuracy == pytest.approx(1 - fell.mean())
    assert found.union.robust_accuracy == pytest.approx(1 - fell.mean())
    assert found.it.survivor == (2 + 5 + 20, 4)
    assert found.missed == found.union.only_it == 0
    assert found.missed_high == pytest.approx(1 - 0.05 ** (1 / held.sum()))
    first = found.entries[0]
    left = ~known.wrong & ~held
    assert (first.of, first.seen) == (left.sum(), (left & (known.state[:, 0] >= 0)).sum())


def test_against_each_run(known: Tried) -> None:
    """On the samples of that run only; costs as the run has them, but not with smaller budgets'."""
    found, held = suggest(known, [A, B]), _held(known)
    one, other = found.originals
    mine = held & ((known.state[:, 1] != UNKNOWN) | known.wrong)
    assert (one.name, other.name, other.n) == ("a", "b", mine.sum())
    assert one.sample == (known.wholes[0].forward[held].mean(),) * 2
    assert other.sample is None
    alone = int((held & (known.state[:, 1] == BROKE) & (known.state[:, 0] == FAILED)).sum())
    assert (one.only_it, one.only_suggestion) == (0, alone)
    assert one.p == pytest.approx(binomtest(0, alone).pvalue)


def test_what_it_misses(known: Tried) -> None:
    """With room for one attack; a miss is `unseen` where that attack was never tried."""
    state = known.state.copy()
    state[::7, 0] = UNKNOWN
    some = known._replace(state=state)
    found, held = suggest(some, [A, B], max_queries=9), _held(known)
    assert found.attacks == ("a",)
    missed = held & some.broken & ~known.wrong & (state[:, 0] != BROKE)
    assert (found.missed, found.unseen) == (
        missed.sum(),
        (missed & (state[:, 0] == UNKNOWN)).sum(),
    )
    assert 0 < found.unseen < found.missed
    exact = binomtest(found.missed, int(held.sum())).proportion_ci(0.9, "exact")
    assert found.missed_high == pytest.approx(exact.high)


def test_it_is_the_same_again(known: Tried) -> None:
    """Whatever the order of candidates; another seed chooses by other samples."""
    found = suggest(known, [A, B])
    assert suggest(known, [B, A])._replace(candidates=()) == found._replace(candidates=())
    other: Suggestion = suggest(known, [A, B], seed=1)
    assert other.it.robust_accuracy != found.it.robust_accuracy


def test_too_few_samples(known: Tried) -> None:
    """Wrong ones do not count."""
    few = known._replace(wrong=np.arange(N) > 30)
    with pytest.raises(UserError, match="20 each are needed"):
        suggest(few, [A, B])
