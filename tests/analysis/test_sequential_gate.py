"""The gate that stops early decides as the sequential test, and errs as rarely as it says."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from robbench.analysis.gate_checks import CLEAN, ROBUST, Tolerances
from robbench.analysis.sequential_gate import SequentialGate
from robbench.statistics.paired import drop_interval, drop_p_values
from robbench.statistics.sequential import PairedSequentialTest


def stream(lost: float, won: float, n: int, seed: int) -> list[tuple[bool, bool]]:
    """Verdicts of baseline and candidate; both stand on half of the rest."""
    kinds = np.random.default_rng(seed).choice(
        4, size=n, p=[lost, won, (1 - lost - won) / 2, (1 - lost - won) / 2]
    )
    table = {0: (True, False), 1: (False, True), 2: (True, True), 3: (False, False)}
    return [table[kind] for kind in kinds.tolist()]


def feed(
    gate: SequentialGate,
    pairs: list[tuple[bool, bool]],
    clean: list[tuple[bool, bool]] | None = None,
) -> int:
    for i, pair in enumerate(pairs):
        if gate.decided:
            return i
        gate.add(pair, clean[i] if clean else (True, True))
    return len(pairs)


@pytest.mark.parametrize(("lost", "won"), [(0.3, 0.02), (0.0, 0.0), (0.02, 0.3), (0.1, 0.1)])
def test_it_is_the_sequential_test(lost: float, won: float) -> None:
    """The same decision after the same sample: for these samples at alpha, for images alpha/2."""
    pairs = stream(lost, won, 400, 1)
    for these, test in (
        (True, PairedSequentialTest(0.05, 400, 0.05)),
        (False, PairedSequentialTest(0.05, 400_000, 0.025)),
    ):
        gate = SequentialGate(Tolerances(robust=0.05, these_samples=these), 400)
        seen = feed(gate, pairs)
        while test.decision is None and test.seen < len(pairs):
            test.add(*pairs[test.seen])
        assert (seen, gate.seen) == (test.seen, test.seen)
        (check,) = gate.checks()
        if test.decision:
            assert (check.decision, (check.low, check.high), check.method) == (
                test.decision,
                test.interval,
                "sequential",
            )
        assert check.lost == sum(a and not b for a, b in pairs[:seen])
        assert check.won == sum(b and not a for a, b in pairs[:seen])
        assert check.baseline == sum(a for a, _ in pairs[:seen]) / seen
        assert check.candidate == sum(b for _, b in pairs[:seen]) / seen


def test_the_last_sample_leaves_the_exact_test() -> None:
    """Where it never stops early, all samples are judged at once with the other half of alpha."""
    pairs = [(True, False)] * 12 + [(False, True)] * 10 + [(True, True)] * 178
    pairs = [pairs[i] for i in np.random.default_rng(0).permutation(200)]
    for tolerance, decision in ((0.09, "pass"), (0.02, "undecided")):
        gate = SequentialGate(Tolerances(robust=tolerance), 200)
        assert feed(gate, pairs) == 200
        (check,) = gate.checks()
        assert check.method == "exact"
        assert check.decision == decision
        assert (check.p_regression, check.p_pass) == drop_p_values(12, 10, 200, tolerance)
        assert (check.low, check.high) == drop_interval(12, 10, 200, 0.025)
        assert (check.needed is None) == (decision == "pass")


def test_two_metrics_stop_at_the_first_regression_or_when_both_pass() -> None:
    """Clean accuracy is decided with robust accuracy, on the same samples."""
    robust, clean = stream(0.0, 0.3, 500, 2), stream(0.4, 0.0, 500, 3)
    gate = SequentialGate(Tolerances(robust=0.05, clean=0.05), 500)
    seen = feed(gate, robust, clean)
    assert seen < 100
    assert {check.metric: check.decision for check in gate.checks()}[CLEAN] == "regression"
    gate = SequentialGate(Tolerances(robust=0.05, clean=0.2), 500)
    feed(gate, robust, robust)
    assert {check.metric: check.decision for check in gate.checks()} == {
        ROBUST: "pass",
        CLEAN: "pass",
    }


@pytest.mark.parametrize("these", [True, False])
def test_errors_are_as_rare_as_promised(these: bool) -> None:
    """Candidates with just the tolerated drop: a wrong answer in at most alpha of the streams."""
    alpha, n, wrong = 0.2, 100, {"regression": 0, "pass": 0, "undecided": 0}
    base = [(True, False)] * 10 + [(True, True)] * 90
    rng = np.random.default_rng(5)
    for seed in range(100):
        pairs = [base[i] for i in rng.permutation(n)] if these else stream(0.1, 0.0, n, seed)
        # For these samples 0.1 is tolerated and so right: only a regression is wrong; just below it
        # only a pass is.
        for limit, error in ((0.1, "regression"), (0.1 - 1e-6, "pass")):
            gate = SequentialGate(Tolerances(robust=limit, alpha=alpha, these_samples=these), n)
            feed(gate, pairs)
            wrong[error] += gate.checks()[0].decision == error
    assert max(wrong.values()) / 100 <= alpha + 0.12  # three standard deviations
    assert wrong["regression"] + wrong["pass"] > 0


def test_undecided_says_how_many() -> None:
    """Before the end: about how many images would do, and of these samples at most all."""
    pairs = stream(0.02, 0.02, 20, 0)
    for these in (True, False):
        gate = SequentialGate(Tolerances(robust=0.01, these_samples=these), 5000)
        feed(gate, pairs)
        (check,) = gate.checks()
        assert check.decision == "undecided"
        assert check.mcnemar_p is None
        assert (check.needed == 5000) if these else (check.needed > 20)


@pytest.mark.parametrize("limit", [0.01, 0.3, 0.9])
def test_it_may_end_while_few_samples_are_seen_and_all_won(limit: float) -> None:
    """Time may be up after any of them: undecided, with a number of samples."""
    gate = SequentialGate(Tolerances(robust=limit), 1000)
    for n in range(1, 6):
        gate.add((False, True), (True, True))
        (check,) = gate.checks()
        assert (check.n, check.drop) == (n, -1.0)
        assert check.decision == "pass" or (check.needed or 0) > n


def test_a_wider_tolerance_passes_no_later() -> None:
    """What passes at a small tolerance has passed at a larger one."""
    pairs = stream(0.01, 0.02, 3000, 4)
    seen = [
        feed(SequentialGate(Tolerances(robust=limit, these_samples=True), 3000), pairs)
        for limit in (0.01, 0.02, 0.05, 0.2)
    ]
    assert all(later >= earlier for later, earlier in pairwise(seen))


def test_nothing_to_decide() -> None:
    """No tolerated drop, no gate."""
    with pytest.raises(ValueError, match="tolerated"):
        SequentialGate(Tolerances(robust=None), 10)
