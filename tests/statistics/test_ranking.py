"""The best is marked only when the corrected paired test separates it from every other."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from robbench.analysis.compare import compare
from robbench.statistics.ranking import best_of
from robbench.store.run import Run


def _verdicts(rng: np.random.Generator, rates: list[float], n: int) -> np.ndarray:
    """Robust or not [k,n], with a difficulty that all share, as models on one test set have."""
    difficulty = rng.random(n)
    return np.array([(0.5 * difficulty + 0.5 * rng.random(n)) < rate for rate in rates])


def _p(verdicts: np.ndarray) -> Callable[[int, int], float]:
    def p_value(i: int, j: int) -> float:
        won, lost = int((verdicts[i] & ~verdicts[j]).sum()), int((verdicts[j] & ~verdicts[i]).sum())
        return float(binomtest(won, won + lost).pvalue) if won + lost else 1.0

    return p_value


def _by_definition(scores: list[float], p_value: Callable[[int, int], float]) -> int | None:
    """Holm's procedure step by step over all pairs: reject while p <= alpha / (pairs left)."""
    pairs = sorted(combinations(range(len(scores)), 2), key=lambda pair: p_value(*pair))
    rejected = set()
    for rank, pair in enumerate(pairs):
        if p_value(*pair) > 0.05 / (len(pairs) - rank):
            break
        rejected.add(pair)
    best = max(range(len(scores)), key=scores.__getitem__)
    return (
        best
        if all(
            tuple(sorted((best, other))) in rejected
            for other in range(len(scores))
            if other != best
        )
        else None
    )


def test_shortcuts_change_nothing() -> None:
    """Near the border the answer is Holm's over all pairs, and both answers occur."""
    rng = np.random.default_rng(0)
    answers = []
    for _ in range(150):
        k = int(rng.integers(2, 6))
        verdicts = _verdicts(rng, list(rng.uniform(0.4, 0.6, k)), 150)
        scores = verdicts.mean(axis=1).tolist()
        found = best_of(scores, _p(verdicts))
        assert found == _by_definition(scores, _p(verdicts))
        answers.append(found is not None)
    assert 10 < sum(answers) < 140


def test_equals_are_hardly_ever_told_apart() -> None:
    """Of six equally good models one is called best in at most 5 % of 200 experiments."""
    rng = np.random.default_rng(1)
    named = 0
    for _ in range(200):
        verdicts = _verdicts(rng, [0.5] * 6, 200)
        named += best_of(verdicts.mean(axis=1).tolist(), _p(verdicts)) is not None
    assert named <= 10


@pytest.mark.parametrize(("k", "expected"), [(0, None), (1, None)])
def test_nothing_to_choose_from(k: int, expected: None) -> None:
    """Among one there is no best."""
    assert best_of([0.5] * k, lambda i, j: 0.0) is expected


def test_ties_have_no_best() -> None:
    """The same verdicts twice: p is 1."""
    verdicts = np.array([[True] * 50 + [False] * 50] * 2 + [[False] * 100])
    assert best_of(verdicts.mean(axis=1).tolist(), _p(verdicts)) is None


def _run(
    stored: Callable[..., Run],
    make_samples: Callable[..., Any],
    name: str,
    breakable: float,
    **more: Any,
) -> Run:
    return stored(name * 4, make_samples(300, 5, breakable), model=name, **more)


def test_compare_marks_the_best_of_each_attack(
    stored: Callable[..., Run], make_samples: Callable[..., Any]
) -> None:
    """Runs are ranked within an attack; one with unfinished samples is never marked."""
    good, bad = (
        _run(stored, make_samples, name, share) for name, share in (("a", 0.1), ("b", 0.6))
    )
    other = _run(stored, make_samples, "c", 0.0, attack="fgsm", attack_params='["fgsm"]')
    assert [row["best"] for row in compare([bad, good, other])] == [False, True, False]
    rows = make_samples(300, 5, 0.1)
    next(row for row in rows if row["robust"])["status"] = 3
    assert not any(row["best"] for row in compare([bad, stored("dddd", rows)]))


def test_holm_over_the_runs_with_one_baseline(
    stored: Callable[..., Run], make_samples: Callable[..., Any]
) -> None:
    """p_holm of two comparisons is the smaller p twice, then the larger p but no less than that."""
    runs = [
        _run(stored, make_samples, name, share)
        for name, share in (("a", 0.5), ("b", 0.48), ("c", 0.47))
    ]
    rows = compare(runs)
    small, large = sorted(rows[1:], key=lambda row: row["mcnemar_p"])
    assert small["p_holm"] == pytest.approx(2 * small["mcnemar_p"], abs=0)
    assert large["p_holm"] == pytest.approx(max(large["mcnemar_p"], 2 * small["mcnemar_p"]), abs=0)
    assert rows[0]["p_holm"] is None
