"""A run against each of the last N: which those are, and how often it errs."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from robbench.analysis.drift_gate import drift_checks, gate_last, parse_against
from robbench.analysis.gate import GateFinding
from robbench.analysis.gate_checks import Tolerances
from robbench.core.errors import UserError
from robbench.statistics.paired import drop_p_values
from robbench.store.locations import sibling_table
from robbench.store.run import Run
from robbench.store.store import Store

INFO = {
    "schema_version": 3,
    "data_hash": "h",
    "target": None,
    "norm": "linf",
    "eps": 0.1,
    "attack_params": "[]",
    "max_time_s": None,
    "max_queries": None,
    "run_id": "abcdef012345",
    "model": "nightly",
    "started_at": datetime(2026, 3, 1),
}


def run(robust: NDArray[np.bool_]) -> Run:
    """A run with these verdicts."""
    n = len(robust)
    rows = {"sample_id": np.arange(n), "label": np.zeros(n, int), "robust": robust}
    rows |= {"clean_correct": np.ones(n, bool), "adversarial": ~robust, "adv_margin": np.zeros(n)}
    return Run(INFO, pa.table(rows))


def drawn(rng: np.random.Generator, rates: list[float], n: int) -> list[Run]:
    """Runs on the same n samples, much alike, whose true robust accuracies are these."""
    shared = rng.normal(size=n) * np.sqrt(0.95)
    return [
        run(shared + rng.normal(size=n) * np.sqrt(0.05) < NormalDist().inv_cdf(rate))
        for rate in rates
    ]


def test_without_a_drop_it_errs_at_its_rate_at_most() -> None:
    """30 times seven equal models at 20 %, where tests by themselves err twice as often."""
    rng = np.random.default_rng(0)
    wrong = alone = 0
    for _ in range(30):
        *earlier, latest = drawn(rng, [0.7] * 7, 60)
        found = drift_checks(earlier, latest, Tolerances(robust=0.0, alpha=0.2))
        wrong += any(check.decision == "regression" for check in found)
        pairs = [(check.lost or 0, check.won or 0) for check in found]
        alone += any(drop_p_values(*pair, 60, 0.0)[0] <= 0.2 for pair in pairs)
    assert wrong <= 11  # at 20 % more has a probability below 1 %
    assert alone >= 2 * max(wrong, 1)


def test_many_small_drops_add_up() -> None:
    """Ten steps of a point: each passes by itself with 5 points tolerated, all together do not."""
    rng = np.random.default_rng(1)
    steps = drawn(rng, [0.80 - 0.01 * i for i in range(11)], 1500)
    tolerances = Tolerances(robust=0.05)
    for before, after in itertools.pairwise(steps):
        (check,) = drift_checks([before], after, tolerances)
        assert check.decision == "pass"
    found = drift_checks(steps[:-1], steps[-1], tolerances)
    assert found[0].decision == "regression"
    assert found[-1].decision == "pass"
    assert found[0].drop == pytest.approx(0.1, abs=0.02)
    assert found[0].low > 0.05


def test_bounds_and_decisions_agree() -> None:
    """A regression is one whose lower bound is above what is tolerated, for any number of runs."""
    rng = np.random.default_rng(2)
    for _ in range(6):
        *earlier, latest = drawn(rng, [0.8, 0.76, 0.73, 0.7, 0.69], 300)
        for check in drift_checks(earlier, latest, Tolerances(robust=0.02, alpha=0.1)):
            shown = check.low > 0.02 + 1e-4
            assert shown == (check.decision == "regression")
            assert check.p_regression is not None
            assert shown == (check.p_regression <= 0.1)  # corrected for the four runs, as low is
            assert (check.high < 0.02) == (check.decision == "pass")
            assert check.decision != "undecided" or (check.needed or 301) > 300


def test_clean_accuracy_is_judged_where_that_is_asked() -> None:
    """After robust accuracy; about these samples nothing is uncertain."""
    rng = np.random.default_rng(3)
    *earlier, latest = drawn(rng, [0.8, 0.8, 0.7], 200)
    found = drift_checks(earlier, latest, Tolerances(clean=0.01, these_samples=True))
    assert [(check.metric, check.back) for check in found] == [
        *(("robust accuracy", 2), ("robust accuracy", 1)),
        *(("clean accuracy", 2), ("clean accuracy", 1)),
    ]
    assert {check.since for check in found} == {"2026-03-01 (abcdef)"}
    assert [check.decision for check in found] == ["regression"] * 2 + ["pass"] * 2


@pytest.mark.parametrize("text", ["last:0", "last:1", "last:x", "last:", "10", "last:-3", "Last:5"])
def test_what_is_no_number_of_runs(text: str) -> None:
    """The form is named."""
    with pytest.raises(UserError, match="write last:N"):
        parse_against(text)
    assert parse_against("last:10") == 10


@pytest.fixture
def store(tmp_path: Path, stored: Callable[..., Any], make_samples: Callable[..., Any]) -> Store:
    """Five runs of a nightly model, each broken a little more; one of another threat."""
    for i in range(5):
        rows = make_samples(150, 1, 0.1 + 0.1 * i)
        stored(f"aaaa{i}", rows, model="nightly", age=86400 * i, model_hash=f"w{i}")
    facts: dict[str, Any] = {"model": "nightly", "age": 86400 * 3 + 9, "model_hash": "x"}
    stored("bbbb", make_samples(150, 1, 0.1), eps=0.3, threat="linf:0.3", **facts)
    return Store(tmp_path)


def test_the_last_comparable_runs_before_the_candidate(store: Store) -> None:
    """Oldest first; neither later ones nor those of another threat."""

    def of(count: int, candidate: str | None = None, name: str | None = None) -> list[Any]:
        found = gate_last(store, count, Tolerances(), candidate=candidate, of=name)
        assert found.baseline["run_id"] == found.against[0]["run_id"]
        return [found.candidate["run_id"], *(info["run_id"] for info in found.against)]

    assert of(3, "aaaa4") == ["aaaa4", "aaaa1", "aaaa2", "aaaa3"]
    assert of(2, "aaaa3") == ["aaaa3", "aaaa1", "aaaa2"]
    assert of(10) == of(10, name="nightly") == ["aaaa4", "aaaa0", "aaaa1", "aaaa2", "aaaa3"]


def test_runs_begun_at_one_moment_have_one_order(
    tmp_path: Path, stored: Callable[..., Any], make_samples: Callable[..., Any]
) -> None:
    """As a history has it: none is left out, and the newest is held against all others."""
    for i in range(3):
        stored(f"aaaa{i}", make_samples(20, 1), age=0, model_hash=f"w{i}")
    found = gate_last(Store(tmp_path), 2, Tolerances(), candidate=None, of=None)
    assert found.candidate["run_id"] == "aaaa2"
    assert [info["run_id"] for info in found.against] == ["aaaa0", "aaaa1"]


def test_it_is_a_regression_and_fewer_runs_are_noted(store: Store) -> None:
    """What one step hides shows against the first."""
    found = gate_last(store, 10, Tolerances(robust=0.05), candidate="aaaa4", of=None)
    assert (found.verdict, found.exit_code, found.seen) == ("regression", 1, 150)
    assert next(note for note in found.notes if note.name == "fewer-runs").facts == {
        "found": 4,
        "asked": 10,
    }
    assert len(found.checks) == 4


def test_an_earlier_run_that_is_damaged_is_named_and_the_others_judged(store: Store) -> None:
    """Its verdict is as without that run; with one sound run left, what is wrong is an error."""

    def damage(run_id: str) -> Path:
        file = sibling_table(store.run_path(run_id), "samples")
        file.write_bytes(file.read_bytes()[:300])
        return file

    def judged() -> GateFinding:
        return gate_last(store, 3, Tolerances(robust=0.05), candidate="aaaa4", of=None)

    whole, file = judged(), damage("aaaa1")
    found = judged()
    assert [info["run_id"] for info in found.against] == ["aaaa2", "aaaa3"]
    assert [check.drop for check in found.checks] == [check.drop for check in whole.checks[1:]]
    assert [note for note in found.notes if note.name == "fewer-runs"] == []
    (note,) = (note for note in found.notes if note.name == "unreadable")
    assert f"{file} is damaged" in note.facts["text"]
    damage("aaaa3")
    with pytest.raises(UserError, match=f"{file} is damaged"):
        judged()


@pytest.mark.parametrize("other", [True, False])
def test_a_runs_file_that_does_not_say_of_what_is_named_and_left_out(
    store: Store, stored: Callable[..., Any], make_samples: Callable[..., Any], other: bool
) -> None:
    """Also of another model; where the candidate is not certain, it may be the newest: an error."""
    run_id = "cccc" if other else "aaaa2"
    if other:
        stored("cccc", make_samples(20, 1), model="other")

    def judged(candidate: str | None, of: str | None = None) -> GateFinding:
        return gate_last(store, 3, Tolerances(robust=0.05), candidate=candidate, of=of)

    whole, file = judged("aaaa4"), store.run_path(run_id)
    file.write_bytes(file.read_bytes()[:300])
    for candidate in ("aaaa4", str(store.run_path("aaaa4"))):
        found = judged(candidate)
        assert found.verdict == whole.verdict
        expected = ["aaaa1", "aaaa2", "aaaa3"] if other else ["aaaa0", "aaaa1", "aaaa3"]
        assert [info["run_id"] for info in found.against] == expected
        (note,) = (note for note in found.notes if note.name == "unknown-run")
        assert f"{file} is damaged" in note.facts["text"]
    for uncertain in ((None,), (None, "nightly"), ("nightly@latest",), ("aaaa4", "nobody")):
        with pytest.raises(UserError, match=f"{file} is damaged.*put a whole copy in its place"):
            judged(*uncertain)


def test_too_few_runs_left_beside_a_damaged_runs_file(store: Store) -> None:
    """What is wrong with the file is the error."""
    file = store.run_path("aaaa0")
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(UserError, match=f"{file} is damaged"):
        gate_last(store, 3, Tolerances(), candidate="aaaa2", of=None)


def test_runs_of_the_candidates_own_weights_are_noted(
    tmp_path: Path, stored: Callable[..., Any], make_samples: Callable[..., Any]
) -> None:
    """Weights attacked again have not drifted: a pass against them says nothing."""
    for i, weights in enumerate(("w0", "w1", "w1", "w1")):
        rows = make_samples(40, 1, 0.3)
        facts = {"age": 9 * i, "model_hash": weights, "seed": i}
        stored(f"aaaa{i}", rows, **facts)
    found = gate_last(Store(tmp_path), 3, Tolerances(), candidate="aaaa3", of=None)
    (note,) = (note for note in found.notes if note.name == "own-weights")
    assert note.facts == {"n": 2, "of": 3}
    found = gate_last(Store(tmp_path), 3, Tolerances(), candidate="aaaa2", of=None)
    assert [note.facts["n"] for note in found.notes if note.name == "own-weights"] == [1]


@pytest.mark.parametrize(
    ("count", "tolerances", "candidate", "of", "said"),
    [
        (3, Tolerances(), "aaaa1", None, r"there is 1$"),
        (3, Tolerances(), "bbbb", None, r"there are 0 \(others differ in threat"),
        (3, Tolerances(), "nobody", None, "unknown model, run or path"),
        (3, Tolerances(), None, "nobody", "unknown model, run or path"),
        (60, Tolerances(), "aaaa4", None, "give last:49 at most"),
        (3, Tolerances(margin=0.1), "aaaa4", None, "judged against one run"),
        (3, Tolerances(per_class=0.1), "aaaa4", None, "judged against one run"),
    ],
)
def test_what_cannot_be_judged(
    store: Store,
    count: int,
    tolerances: Tolerances,
    candidate: str | None,
    of: str | None,
    said: str,
) -> None:
    """What is wrong is said before anything is read."""
    with pytest.raises(UserError, match=said):
        gate_last(store, count, tolerances, candidate=candidate, of=of)


def test_a_newest_run_that_nobody_named_is_said_to_be_one(
    store: Store, stored: Callable[..., Any], make_samples: Callable[..., Any]
) -> None:
    """A run under another threat model came last; who names it is not told to name another."""
    stored("cccc", make_samples(20, 1), model="nightly", age=86400 * 9, threat="linf:0.3", eps=0.3)
    hint = "it was taken as the newest run: name another by --candidate RUN"
    with pytest.raises(UserError, match=hint):
        gate_last(store, 3, Tolerances(), candidate=None, of=None)
    with pytest.raises(UserError) as caught:
        gate_last(store, 3, Tolerances(), candidate="cccc", of=None)
    assert hint not in str(caught.value)


def test_runs_without_a_budget(
    tmp_path: Path, stored: Callable[..., Any], make_samples: Callable[..., Any]
) -> None:
    """They have no robust accuracy; what to give instead is named."""
    for i in range(3):
        facts = {"eps": float("inf"), "threat": "linf:inf", "age": i, "model_hash": f"w{i}"}
        stored(f"aaaa{i}", make_samples(20, 1), **facts)
    with pytest.raises(UserError, match="has no budget"):
        gate_last(Store(tmp_path), 2, Tolerances(), candidate=None, of=None)
