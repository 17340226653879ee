"""How checks are counted, skipped and paid for."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from robbench.checks import budget, gradients, outputs, run_rows, stronger_attacks, trajectory
from robbench.checks.base import Check, Reading, counted, none_may_be, run_checks
from robbench.checks.evidence import Skip
from robbench.core.errors import UserError


def first(n: int, of: int = 60) -> Tensor:
    return torch.arange(of) < n


@pytest.mark.parametrize(
    ("bad", "among", "failed"),
    [
        (0, 60, False),
        (1, 60, False),
        (6, 60, False),
        (7, 60, True),
        (0, 9, None),
        (1, 9, None),
        (2, 9, None),
        (6, 9, True),
        (0, 0, None),
    ],
)
def test_shares_are_held_against_a_threshold(
    bad: int, among: int, failed: bool | None, linear, evidence: Callable
) -> None:
    """More than a tenth, two samples at least; few samples can condemn but not acquit."""
    reading = counted(evidence(linear()), first(bad), first(among), 0.1, "of something")
    assert reading.failed is failed
    assert reading.figure == (bad / among if among else 0)
    assert len(reading.evidence) == bad


def test_samples_that_are_not_asked_about_do_not_count(linear, evidence: Callable) -> None:
    """What is bad elsewhere is no evidence."""
    reading = counted(evidence(linear()), ~first(20), first(20), 0.0, "of something")
    assert (reading.failed, reading.figure, reading.evidence) == (False, 0.0, ())


def ask(raises: Exception | None = None, failed: bool | None = False) -> Check:
    def question(e: object) -> Reading:
        """Asks."""
        if raises:
            raise raises
        return Reading(failed, 1.0, 2.0, "text")

    return Check("a", "error", question, "somebody 1999")


def test_verdicts(linear, evidence: Callable) -> None:
    """True fails, False passes, None is unclear; the missing skips; programming errors pass."""
    e = evidence(linear())
    checks = [
        ask(failed=True),
        ask(),
        ask(failed=None),
        ask(Skip("none")),
        ask(UserError("not so")),
        ask(RuntimeError("x\ny")),
    ]
    found = run_checks(checks, e)
    assert [f.verdict for f in found] == [
        "fail",
        "pass",
        "unclear",
        "skipped",
        "skipped",
        "skipped",
    ]
    assert [f.text for f in found[3:]] == ["none", "not so", "the model raised RuntimeError: x"]
    assert math.isnan(found[3].figure)
    assert {(f.source, f.n_samples, f.severity) for f in found} == {("somebody 1999", 60, "error")}
    for error in (KeyError("k"), torch.OutOfMemoryError()):
        with pytest.raises(type(error)):
            run_checks([ask(error)], e)


def test_advice_is_for_failures(linear, evidence: Callable) -> None:
    """What to do about it is not said of a check that passes."""
    e, advised = evidence(linear()), "fell: add steps"
    assert counted(e, first(40), first(60), 0.1, advised).text == "40 of 60 fell: add steps"
    assert counted(e, first(0), first(60), 0.1, advised).text == "0 of 60 fell"
    assert none_may_be(e, first(1), advised).text == "1 of 60 fell: add steps"
    assert none_may_be(e, first(0), advised).text == "0 of 60 fell"


def test_few_samples_are_called_so_and_one_class_is_no_test(
    linear, evidence: Callable, split
) -> None:
    """A verdict that cannot be given says why in words."""
    assert (
        counted(evidence(linear()), first(2), first(9), 0.1, "fell").text
        == "2 of only 9, too few samples to tell: fell"
    )
    advised = "fell: add steps"
    e = evidence(linear())
    assert counted(e, first(2), first(9), 0.1, advised).text.endswith(" to tell: fell")
    alike = split.take((split.labels == 0).nonzero()[:, 0])
    with pytest.raises(Skip, match="100% of the samples are of one class"):
        budget.huge_eps(evidence(linear(), alike))


def test_every_query_is_counted_and_none_is_made_twice(
    linear, evidence: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Queries add up to what the model got; asking again costs only fresh answers."""
    # Whether rows need padding is measured on the way, which is no query.
    monkeypatch.setattr("robbench.engine.lane.holds", lambda *args, **options: False)
    seen = []
    model = linear()
    model.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    e = evidence(model)
    assert e.answers.tiles.step  # measured once, which is no query
    seen.clear()
    checks = [
        Check(ask.__name__, "error", ask, "s")
        for ask in (budget.huge_eps, stronger_attacks.loss_gap, stronger_attacks.black_box)
    ]
    found = run_checks(checks, e)
    assert sum(f.n_forward for f in found) == sum(seen) == e.n_forward > 0
    assert sum(f.n_backward for f in found) == e.n_backward > 0
    assert all(f.n_forward == f.n_backward == 0 for f in run_checks(checks, e))


@pytest.mark.parametrize("most", [0, 60, 200, 500, 3000, 10**6])
def test_no_more_is_spent_than_is_allowed(most: int, linear, evidence: Callable) -> None:
    """Checks that would cost more are skipped, cheaper ones after them are not."""
    from robbench.checks.registry import CHECKS

    e = evidence(linear(), source=linear(), most=most)
    found = run_checks(CHECKS, e)
    assert e.n_forward + e.n_backward <= most
    skipped = [f for f in found if "too many queries" in f.text]
    assert bool(skipped) == (most < 10**6)
    assert (most < 60) == all(f.n_forward == 0 for f in found)


def test_a_random_model_that_was_attacked_as_one_is_not_reproached_for_it(
    linear, evidence: Callable, run_of: Callable
) -> None:
    """After eot, checks that need equal answers are skipped."""
    noisy = linear(lambda x: x + 0.05 * torch.randn_like(x))
    averaged = evidence(noisy, **run_of(attack=["eot:attack=(pgd),draws=3"]))
    for check in (
        outputs.random,
        outputs.batch_width,
        run_rows.reproduced,
        budget.zero_eps,
        gradients.slope,
        trajectory.silent_success,
    ):
        with pytest.raises(Skip, match="eot"):
            check(averaged)
    assert outputs.random(evidence(noisy, **run_of())).failed is True


def test_a_figure_may_decide_the_severity(linear, evidence: Callable) -> None:
    """Else it is the check's own."""
    mild = Reading(True, 1.0, 2.0, "text", severity="warning")
    checks = [ask(failed=True), Check("b", "error", lambda e: mild, "somebody 1999")]
    found = run_checks(checks, evidence(linear()))
    assert [finding.severity for finding in found] == ["error", "warning"]
