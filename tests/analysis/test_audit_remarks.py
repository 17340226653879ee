"""What audits leave open about a difference, against the bounds written out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from scipy.stats import hypergeom

from robbench.analysis.audit_remarks import COLUMNS, remarks
from robbench.analysis.compare import compare
from robbench.analysis.seeds import over_training_seeds
from robbench.store.run import Run

Stored = Callable[..., Run]
CHEAP = {"attack": "autoattack-fast"}


def with_audit(rows: list[dict[str, Any]], n: int, k: int) -> tuple[list[Any], dict[str, Any]]:
    """Rows of which the first n survivors were audited and k broken; what the run's row says."""
    left = [row for row in rows if row["robust"]]
    for row in rows:
        row["audited"] = row in left[:n]
    for row in left[:k]:
        row |= {"robust": False, "adversarial": True, "broken_by": "square", "adv_margin": -1.0}
    size = len(left)
    most = max(m for m in range(k, size - n + k + 1) if hypergeom.cdf(k, size, m, n) > 0.05)
    said = {"audit_attack": "autoattack", "n_survivors": size, "n_audited": n, "n_audit_broken": k}
    said |= {"audit_missed_high": most / size, "robust_accuracy_audited": (size - most) / len(rows)}
    return rows, said


def test_rows_of_a_comparison_have_the_audit(
    stored: Stored, make_samples: Callable[..., Any]
) -> None:
    """The columns of the run; None without an audit; the pair's note says that they differ."""
    rows, said = with_audit(make_samples(200, 1, 0.3), 30, 2)
    runs = [
        stored("aaaa", make_samples(200, 2, 0.3), **CHEAP),
        stored("bbbb", rows, model="at", age=1, **CHEAP, **said),
    ]
    first, second = compare(runs)
    assert [first[name] for name in COLUMNS] == [None] * len(COLUMNS)
    assert {name: second[name] for name in COLUMNS} == pytest.approx(said)
    assert "audited differently: autoattack on 30 here, no audit there" in second["note"]


@pytest.mark.parametrize(
    ("here", "there", "expected"),
    [
        ((0.60, 0.63), (0.50, 0.55), ""),
        ((0.50, 0.55), (0.60, 0.63), ""),
        ((0.60, 0.63), (0.55, 0.61), "60.0% to 63.0% here, 55.0% to 61.0% there"),
        ((0.55, 0.61), (0.60, 0.63), "55.0% to 61.0% here, 60.0% to 63.0% there"),
        ((0.50, 0.63), (0.55, 0.61), "50.0% to 63.0% here"),
        ((0.60, 0.63), (0.60, 0.63), ""),  # no difference, no sign
    ],
)
def test_a_difference_whose_sign_the_bounds_do_not_carry_is_named(
    here: tuple[float, float], there: tuple[float, float], expected: str
) -> None:
    """Ranges apart carry it in either direction."""
    mine, theirs = (
        {
            **CHEAP,
            "audit_attack": "autoattack",
            "n_audited": 9,
            "robust_accuracy_audited": low,
            "robust_accuracy": high,
        }
        for low, high in (here, there)
    )
    found = remarks(mine, theirs)
    assert (expected in "; ".join(found)) if expected else (found == [])


def test_a_full_attack_beside_its_audit_is_one_number() -> None:
    """A run of the audit's own attack wants no audit, and its robust accuracy is its bound."""
    full = {"attack": "autoattack", "audit_attack": None, "robust_accuracy": 0.6}
    cheap = {**CHEAP, "audit_attack": "autoattack", "n_audited": 9, "robust_accuracy": 0.63}
    assert remarks(cheap | {"robust_accuracy_audited": 0.61}, full) == []
    (said,) = remarks(full, cheap | {"robust_accuracy_audited": 0.59})
    assert ": 60.0% here, 59.0% to 63.0% there" in said


def test_other_audits_are_named() -> None:
    mine = {**CHEAP, "audit_attack": "square", "n_audited": 1000, "robust_accuracy": 0.6}
    theirs = mine | {"audit_attack": "autoattack", "n_audited": 300}
    assert remarks(mine, theirs) == [
        "audited differently: square on 1,000 here, autoattack on 300 there"
    ]


def test_over_training_seeds_bounds_are_means_where_all_have_one(
    stored: Stored, make_samples: Callable[..., Any]
) -> None:
    """Counts are sums; where a seed has no audit there is no mean."""
    trained = {"train_config": '{"loss": "at"}', "model": "at", **CHEAP}
    runs = []
    for seed in range(2):
        rows, said = with_audit(make_samples(150, seed, 0.3), 20, seed)
        runs.append(stored(f"{seed}" * 12, rows, age=seed, train_seed=seed, **trained, **said))
    (row,) = over_training_seeds(runs, compare(runs))
    assert (row["audit_attack"], row["n_audited"], row["n_audit_broken"]) == ("autoattack", 40, 1)
    for name in ("robust_accuracy_audited", "audit_missed_high"):
        assert row[name] == pytest.approx(sum(run.info[name] for run in runs) / 2)
    runs.append(stored("2" * 12, make_samples(150, 2, 0.3), age=2, train_seed=2, **trained))
    (row,) = over_training_seeds(runs, compare(runs))
    assert [row[name] for name in COLUMNS] == [None] * len(COLUMNS)
