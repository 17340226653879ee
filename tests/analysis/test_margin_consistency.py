"""Margin consistency of handmade margins, against scipy, scikit-learn and counting."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import kendalltau
from sklearn.metrics import roc_auc_score

from robbench.analysis.input_margins import InputMargins
from robbench.analysis.margin_consistency import Clean, brittle_inputs, consistency
from robbench.store.run import Run

N = 40
INF = math.inf


def drawn(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logit margins, and input margins that go with them."""
    draw = np.random.default_rng(seed)
    margin = draw.gamma(2.0, size=N)
    return margin, margin * draw.gamma(4.0, 0.1, size=N)


def clean(margin: Sequence[float] | np.ndarray, wrong: Sequence[int] = ()) -> Clean:
    """Samples with these logit margins, all right but for some."""
    values = np.asarray(margin, float)
    correct = ~np.isin(np.arange(len(values)), wrong)
    return Clean(np.arange(len(values)), values, correct)


def found(
    smallest: Sequence[float] | np.ndarray,
    withstood: Sequence[float] | np.ndarray | None = None,
    eps: float = INF,
) -> InputMargins:
    """Input margins by attacks with eps; without `withstood` known from both sides."""
    sizes = np.asarray(smallest, float)
    low = sizes if withstood is None else np.asarray(withstood, float)
    n = len(sizes)
    return InputMargins(
        norm="l2",
        sample_id=np.arange(n),
        smallest=sizes,
        withstood=low,
        attacked=np.full(n, eps),
        unfinished=np.zeros(n, bool),
        eps=(eps,),
        runs=("a",),
    )


def test_tau_of_the_samples_that_are_right() -> None:
    """By scipy on them; the wrong ones, with input margin 0, are counted."""
    margin, sizes = drawn()
    sizes[:4] = 0
    value, detail = consistency(clean(margin, wrong=range(4)), found(sizes))
    assert value == pytest.approx(kendalltau(margin[4:], sizes[4:]).statistic)
    assert (detail["used"], detail["left_out"], detail["misclassified"]) == (36, 0, 4)
    assert detail["low"] < value < detail["high"] <= 1
    assert detail["level"] == 0.95


def test_margins_that_are_not_known_are_left_out_and_counted() -> None:
    """Neither what no attack found, nor what was found inside a budget, has a known place."""
    margin, sizes = drawn()
    smallest, withstood = sizes.copy(), sizes.copy()
    smallest[:3] = withstood[:3] = INF  # an attack without a budget found nothing
    withstood[3:8] = 0  # broken inside a budget
    margin[8] = math.nan
    value, detail = consistency(clean(margin), found(smallest, withstood))
    assert value == pytest.approx(kendalltau(margin[9:], sizes[9:]).statistic)
    assert (detail["used"], detail["left_out"]) == (31, 8)


def test_a_perfect_order_is_one_however_much_is_censored() -> None:
    """As ties, the samples that are not broken would lower tau-b."""
    margin = np.arange(N) + 1.0
    smallest = np.where(np.arange(N) < 25, margin, INF)
    assert consistency(clean(margin), found(smallest))[0] == 1
    assert kendalltau(margin, np.minimum(smallest, 25.5)).statistic < 0.95


def test_budgets_alone_say_how_to_get_tau() -> None:
    """Null, with the command's words; of few samples, and of equal ones, null as well."""
    margin, sizes = drawn()
    value, detail = consistency(clean(margin), found(sizes, np.zeros(N), eps=10.0))
    assert value is None
    assert "--threat l2:inf" in detail["reason"]
    value, detail = consistency(clean(margin[:9]), found(sizes[:9]))
    assert value is None
    assert "only 9" in detail["reason"]
    value, detail = consistency(clean(np.ones(N)), found(sizes))
    assert value is None
    assert "equal" in detail["reason"]


def test_brittle_inputs_are_found_as_by_scikit_learn() -> None:
    """AUROC of the negative margin; the false positives by going through all thresholds."""
    margin, sizes = drawn(3)
    eps = float(np.median(sizes))
    results = brittle_inputs(clean(margin), found(sizes), eps)
    brittle = sizes <= eps
    value, detail = results["brittle_auroc"]
    assert value == pytest.approx(roc_auc_score(brittle, -margin))
    assert (detail["brittle"], detail["robust"]) == (int(brittle.sum()), int((~brittle).sum()))
    assert detail["low"] < value < detail["high"]
    threshold = min(t for t in margin if (margin[brittle] <= t).mean() >= 0.95)
    expected = (margin[~brittle] <= threshold).mean()
    assert results["brittle_fpr95"][0] == pytest.approx(expected)


def test_who_is_robust_was_attacked_at_that_eps() -> None:
    """A sample that withstood less, was wrong or has no logit margin is neither."""
    margin = drawn()[0]
    smallest = np.where(np.arange(N) < 15, 0.1, INF)
    withstood = np.where(np.arange(N) < 15, 0.0, 0.2)
    withstood[-2:] = 0.1
    margin[-3] = math.nan
    detail = brittle_inputs(clean(margin, wrong=[0]), found(smallest, withstood, 0.2), 0.2)[
        "brittle_auroc"
    ][1]
    assert (detail["brittle"], detail["robust"], detail["left_out"]) == (14, 22, 2)
    assert detail["misclassified"] == 1


@pytest.mark.parametrize(
    ("eps", "word"), [(INF, "budget"), (0.001, "0 brittle"), (1e6, "0 robust")]
)
def test_nothing_to_tell_apart(eps: float, word: str) -> None:
    """No budget, or too few of one kind: null, with the reason."""
    margin, sizes = drawn()
    for value, detail in brittle_inputs(clean(margin), found(sizes + 0.01), eps).values():
        assert value is None
        assert word in detail["reason"]


def test_clean_margins_are_joined_by_sample(run: object) -> None:
    """From whichever run knows a sample; in the order of the input margins."""
    ids = [1000 + 7 * i for i in range(5)]
    runs: list[Run] = [
        run("linf:0.1", [None, 0.0], margins=[1.0, -2.0]),  # type: ignore[operator]
        run("linf:0.1", [None, None], first=3, margins=[4.0, 5.0]),  # type: ignore[operator]
    ]
    seen = Clean.of(ids, runs)
    assert seen.margin[[0, 1, 3, 4]].tolist() == [1, -2, 4, 5]
    assert math.isnan(seen.margin[2])
    assert seen.correct.tolist() == [True, False, False, True, True]
    margins = found([1.0, 2.0, 3.0])
    margins = InputMargins(**{**vars(margins), "sample_id": np.array([ids[4], ids[0], ids[3]])})
    assert seen.at(margins).margin.tolist() == [5, 1, 4]
