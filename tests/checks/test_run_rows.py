"""Checks of rows: handmade runs that are as they should be, and ones that are not."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor

from robbench.checks import (
    run_rows,
)
from robbench.checks.evidence import Skip
from robbench.core.status import UNCONFIRMED, UNFINISHED

N = 60


PGD, SQUARE = "pgd:steps=20", "square:steps=100"


def some(n: int, yes: object, no: object = None) -> list:
    """The first n samples are one thing, the others another."""
    return [yes] * n + [no] * (N - n)


def by_audit(n: int) -> dict[str, Any]:
    """A run of PGD whose audit gave n samples Square."""
    said = {"n_audited": n, "provenance": json.dumps({"audit_params": [SQUARE]})}
    return {"attack": [PGD], "audit": said}


def fell(n: int, spec: str = PGD, **columns: list) -> dict:
    """The first n samples fell to an attack."""
    return {"adversarial": some(n, True, False), "broken_by": some(n, spec), **columns}


CASES = {  # check, a good run, a bad run, how many samples speak against the bad one
    "reproduced": (run_rows.reproduced, {}, {"clean_pred": [1, 0] * 30}, N),
    "unfinished": (run_rows.unfinished, {}, {"status": some(3, UNFINISHED, 0)}, 3),
    "unconfirmed": (run_rows.unconfirmed, {}, {"status": some(3, UNCONFIRMED, 0)}, 3),
    "zero gradients met": (run_rows.odd_answers, {}, {"n_zero_gradient": some(2, 4, 0)}, 2),
    "no numbers met": (run_rows.odd_answers, {}, {"n_nonfinite": some(5, 1, 0)}, 5),
    "black-box-only": (
        run_rows.black_box_only,
        {"attack": [PGD, SQUARE], **fell(20)},
        {"attack": [PGD, SQUARE], **fell(20, SQUARE)},
        20,
    ),
    "one to a black-box is luck": (
        run_rows.black_box_only,
        {"attack": [PGD, SQUARE], **fell(1, SQUARE)},
        {"attack": [PGD, "noise"], **fell(2, "noise")},
        2,
    ),
    "black-box-tried": (run_rows.diverse, {"attack": [PGD, SQUARE]}, {}, 0),
    "black-box-tried, by an audit": (run_rows.diverse, by_audit(1), by_audit(0), 0),
    "late to a black-box of an audit": (
        run_rows.black_box_only,
        by_audit(5),
        by_audit(5) | fell(3, SQUARE),
        3,
    ),
    "of pyautoattack": (
        run_rows.diverse,
        {"attack": ["pyautoattack"]},
        {"attack": ["pyautoattack:version=rand"]},
        0,
    ),
    "unmoved": (
        run_rows.unmoved,
        fell(20, adv_margin=some(20, -1.0, 0.99)),
        fell(20, adv_margin=some(50, 0.5, 1.0)),
        10,
    ),
    "unmoved, of what was attacked to the end": (
        run_rows.unmoved,
        fell(20, adv_margin=[-1.0] * 20 + [0.9] * 20 + [1.0] * 20, status=some(40, 0, UNFINISHED)),
        fell(20, adv_margin=[-1.0] * 20 + [0.9] * 20 + [1.0] * 20, status=some(55, 0, UNFINISHED)),
        15,
    ),
    "late-successes": (
        run_rows.late_successes,
        fell(45, first_success_step=some(3, 18, 3)),
        fell(40, first_success_step=some(8, 18, 3)),
        8,
    ),
    "last-restart": (
        run_rows.last_restart,
        fell(40, "pgd:restarts=3", broken_variant=some(40, 1)),
        fell(40, "pgd:restarts=3", broken_variant=some(20, 2, 0)),
        20,
    ),
    "last restart of an attack inside another": (
        run_rows.last_restart,
        fell(40, "eot:attack=(pgd:restarts=3),draws=2", broken_variant=some(40, 1)),
        fell(40, "eot:attack=(pgd:restarts=3),draws=2", broken_variant=some(20, 2, 0)),
        20,
    ),
    "last restart of a targeted attack": (  # two classes have one target each
        run_rows.last_restart,
        fell(40, "apgd:objective=dlr-targeted,restarts=2", broken_variant=some(40, 0)),
        fell(40, "apgd:objective=dlr-targeted,restarts=2", broken_variant=some(30, 1, 0)),
        30,
    ),
    "few-classes": (
        run_rows.few_classes,
        {"flags": json.dumps([{"name": "random", "text": "x"}])},
        {"flags": json.dumps([{"name": "few-classes", "text": "9 targets are cut to 1"}])},
        0,
    ),
}


def audited(n: int, broken: int, most: float, survivors: int = 60) -> dict:
    """The first n samples were audited, of which the first few fell to square."""
    said = {"audit_attack": "autoattack", "n_audited": n, "audit_missed_high": most}
    said["n_survivors"] = survivors
    return {"audit": said, "audited": some(n, True, False), **fell(broken, SQUARE)}


@pytest.mark.parametrize(
    ("run", "failed", "severity", "figure", "said"),
    [
        (
            audited(50, 0, 0.01),
            False,
            None,
            0.0,
            "broke 0 of 50 audited survivors, and would break",
        ),
        (audited(50, 0, 0.011), None, None, 0.0, "too few to exclude 1.1% of all"),
        (audited(50, 1, 0.1), True, None, 0.02, "broke 1 of 50 audited survivors (square:steps"),
        (audited(50, 5, 0.2), True, None, 0.1, "is too high"),
        (audited(50, 0, 0.07317), None, None, 0.0, "too few to exclude 7.4% of all"),
        (audited(50, 5, 0.1, 50), True, "info", 0.1, "broke 5 of all 50 survivors (square:steps"),
    ],
)
def test_an_audit_that_breaks_samples_fails(
    run: dict,
    failed: bool | None,
    severity: str | None,
    figure: float,
    said: str,
    linear,
    evidence: Callable,
    run_of: Callable,
) -> None:
    """With what it broke as evidence; too few audited samples cannot tell."""
    reading = run_rows.audit(evidence(linear(), **run_of(**run)))
    assert (reading.failed, reading.severity) == (failed, severity)
    assert reading.figure == pytest.approx(figure)
    assert said in reading.text
    assert len(reading.evidence) == sum(run["adversarial"])


def test_an_audit_that_breaks_one_in_a_hundred_is_a_warning(
    linear, evidence: Callable, run_of: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error only above that share; samples that fell before it was made are not counted."""
    monkeypatch.setattr(run_rows, "MISSED", 0.05)
    for n, severity in ((2, "warning"), (3, None)):
        run = audited(50, n, 0.1)
        run["adversarial"] = [*run["adversarial"][:50], *[True] * 10]
        reading = run_rows.audit(evidence(linear(), **run_of(**run)))
        assert (reading.failed, reading.severity, len(reading.evidence)) == (True, severity, n)


@pytest.mark.parametrize("name", CASES)
def test_rows_that_speak_against_an_attack(
    name: str, linear, evidence: Callable, run_of: Callable
) -> None:
    """The good run passes, the bad one fails with just the samples that were made so."""
    check, good, bad, count = CASES[name]
    assert check(evidence(linear(), **run_of(**good))).failed is False
    reading = check(evidence(linear(), **run_of(**bad)))
    assert reading.failed is True
    assert len(reading.evidence) == count


@pytest.mark.parametrize(
    ("check", "run", "why"),
    [
        (run_rows.black_box_only, {}, "no black-box attack after"),
        (run_rows.black_box_only, {"attack": [SQUARE, PGD]}, "no black-box attack after"),
        (run_rows.last_restart, fell(40), "restarts"),
        (run_rows.late_successes, fell(29), "fewer than 30"),
        (run_rows.late_successes, fell(40, SQUARE), "fewer than 30"),
        (run_rows.late_successes, fell(40, "fgsm"), "fewer than 30"),
        (run_rows.audit, {}, "attack with --audit 300"),
        (run_rows.audit, {"audit": {"n_audited": 0}}, "no sample to audit"),
        (run_rows.diverse, {"attack": [PGD, "foolbox:attack=LinfPGD"]}, "another package"),
    ],
)
def test_rows_that_cannot_tell(
    check: Callable, run: dict, why: str, linear, evidence: Callable, run_of: Callable
) -> None:
    """A check without what it needs says so."""
    with pytest.raises(Skip, match=why):
        check(evidence(linear(), **run_of(**run)))


def test_without_a_run_rows_say_nothing(linear, evidence: Callable) -> None:
    """Checks of rows need rows; those that a mini attack can answer do not."""
    e = evidence(linear())
    for check in (
        run_rows.reproduced,
        run_rows.unfinished,
        run_rows.late_successes,
        run_rows.few_classes,
        run_rows.diverse,
    ):
        with pytest.raises(Skip, match="no run"):
            check(e)
    assert run_rows.unmoved(e).failed is False


@pytest.mark.parametrize(
    "spec", ["fmn", "deepfool", "hopskipjump:steps=50", "square:steps=10", "pyautoattack"]
)
def test_attacks_that_visit_no_point_in_vain_are_not_judged_by_it(
    spec: str, linear, evidence: Callable, run_of: Callable
) -> None:
    """Minimum-norm, black-box and others' attacks leave clean margins: no sign of anything."""
    with pytest.raises(Skip, match="climbs"):
        run_rows.unmoved(
            evidence(linear(), **run_of(attack=[spec], **fell(5, adv_margin=some(5, -1.0, 1.0))))
        )


def test_without_a_budget_nothing_can_move(linear, evidence: Callable, run_of: Callable) -> None:
    """At eps 0 every margin is kept, whatever the gradient is."""
    kept = run_of(adv_margin=[1.0] * N)
    with pytest.raises(Skip, match="no budget to spend"):
        run_rows.unmoved(evidence(linear(), threat="linf:0", **kept))
    assert run_rows.unmoved(evidence(linear(), **kept)).failed is True


def test_both_reasons_not_to_move_are_named(linear, evidence: Callable, run_of: Callable) -> None:
    """Rows do not tell a gradient without a direction from points outside of the threat model."""
    found = run_rows.unmoved(evidence(linear(), **run_of(adv_margin=[1.0] * N)))
    assert "no direction, or its points were outside of the threat model" in found.text


def test_an_attack_without_a_direction_is_noticed(told_apart: Callable) -> None:
    """The same samples, labels and threat: only what is looked for differs."""
    good, bad = told_apart(run_rows.unmoved, Tensor.detach, 1)
    assert len(bad.evidence) > len(good.evidence)
