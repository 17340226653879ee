"""Mean, worst and all of a model's runs under corruptions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean, stdev
from typing import Any

import pytest
from scipy import stats

from robbench.analysis.corrupted import under_corruptions
from robbench.statistics.proportions import wilson
from robbench.store.run import Run

THREATS = ("corruption:fog@1", "corruption:fog@5", "corruption:snow@5")
CE = ((1, 1, 1, 0, 1, 1), (1, 0, 1, 0, 1, 0), (1, 1, 0, 0, 1, 0))
AT = ((1, 1, 1, 1, 1, 1), (1, 1, 1, 1, 1, 1), (1, 1, 1, 0, 1, 1))


@pytest.fixture
def runs(stored: Callable[..., Run], make_samples: Callable[..., Any]) -> Callable[..., list[Run]]:
    """Runs of a model with these verdicts, one list of them for each threat model."""
    count = iter(range(100))

    def make(model: str, verdicts: Sequence[Sequence[int]], **changes: Any) -> list[Run]:
        found = []
        for threat, right in zip(THREATS, verdicts, strict=False):
            rows = make_samples(len(right))
            for row, good in zip(rows, right, strict=True):
                row |= {"robust": bool(good), "adversarial": not good, "clean_correct": True}
            norm, _, severity = threat.partition("@")
            facts = {"threat": threat, "norm": norm, "eps": float(severity), "attack": "none"}
            number = f"{next(count):012d}"
            found.append(
                stored(
                    number,
                    rows[:: 1 if next(count) % 4 else -1],
                    model=model,
                    model_hash=model,
                    **facts,
                    **changes,
                )
            )
        return found

    return make


def test_each_corruption_counts_alike_and_each_sample_once(runs):
    """Counted by hand from the verdicts; the order of rows in a file does not matter."""
    (row,) = under_corruptions(runs("ce", CE))
    flat = [verdict for line in CE for verdict in line]
    assert row["mean_accuracy"] == pytest.approx(sum(flat) / 18)
    assert (row["worst_accuracy"], row["worst_threat"]) == (0.5, "corruption:fog@5")
    assert row["all_accuracy"] == pytest.approx(2 / 6)
    low, high = wilson(2, 6)
    assert (row["all_accuracy_low"], row["all_accuracy_high"]) == (low, high)
    assert row["corruptions"] == {"fog": pytest.approx(8 / 12), "snow": 0.5}
    assert row["mean_accuracy_low"] < wilson(11, 18)[0]  # samples are fewer than verdicts
    assert row["difference"] is None
    assert row["clean_accuracy"] == 1


def test_a_model_with_other_corruptions_takes_no_mean_from_the_rest(runs):
    """One threat model alone is none to share; of models that share too few each is alone."""
    both = [*runs("ce", CE), *runs("at", AT)]
    alone = under_corruptions([*both, *runs("one", CE[:1])])
    assert [(row["model"], len(row["threats"])) for row in alone] == [("ce", 3), ("at", 3)]
    assert alone[1]["difference"] is not None
    apart = under_corruptions([*runs("ce", CE[:2]), *runs("at", AT)[1:]])
    assert [row["threats"] for row in apart] == [[*THREATS[:2]], [*THREATS[1:]]]
    assert [row["difference"] for row in apart] == [None, None]


def test_a_difference_is_paired_by_sample(runs):
    """Student's t of scipy on the samples' own means."""
    first, second = under_corruptions([*runs("ce", CE), *runs("at", AT)])
    means = [[fmean(column) for column in zip(*lines, strict=True)] for lines in (CE, AT)]
    apart = [b - a for a, b in zip(*means, strict=True)]
    low, high = stats.t.interval(0.95, 5, fmean(apart), stdev(apart) / 6**0.5)
    assert second["difference"] == pytest.approx(fmean(apart))
    assert (second["difference_low"], second["difference_high"]) == pytest.approx((low, high))
    assert first["difference"] is None
    assert [row["model"] for row in (first, second)] == ["ce", "at"]


def test_only_what_all_models_were_under_counts(runs):
    """Fog alone, at two severities; a model under a single one takes part in none."""
    found = under_corruptions([*runs("ce", CE), *runs("at", AT[:2])])
    assert [row["threats"] for row in found] == [list(THREATS[:2])] * 2
    assert found[0]["mean_accuracy"] == pytest.approx(8 / 12)
    (alone,) = under_corruptions([*runs("ce", CE), *runs("at", AT[:1])])
    assert (alone["model"], alone["threats"]) == ("ce", list(THREATS))


def test_other_threats_and_other_data_are_apart(runs, stored):
    """A ball is no corruption, and samples of other data are not mixed in."""
    other = runs("at", AT, data="mnist", data_hash="other")
    found = under_corruptions([stored("ball"), *runs("ce", CE), *other])
    assert [row["data"] for row in found] == ["digits", "mnist"]
    assert [row["difference"] for row in found] == [None, None]
    assert under_corruptions([stored("ball2")]) == []
