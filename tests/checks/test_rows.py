"""Checks of rows and points: handmade runs that are as they should be, and ones that are not."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch

from robbench.checks import points, rows
from robbench.checks.base import Skip
from robbench.core.status import UNCONFIRMED, UNFINISHED

N = 60
PGD, SQUARE = "pgd:steps=20", "square:steps=100"


def some(n: int, yes: object, no: object = None) -> list:
    """The first n samples are one thing, the others another."""
    return [yes] * n + [no] * (N - n)


def fell(n: int, spec: str = PGD, **columns: list) -> dict:
    """The first n samples fell to an attack."""
    return {"adversarial": some(n, True, False), "broken_by": some(n, spec), **columns}


CASES = {  # check, a good run, a bad run, how many samples speak against the bad one
    "reproduced": (rows.reproduced, {}, {"clean_pred": [1, 0] * 30}, N),
    "unfinished": (rows.unfinished, {}, {"status": some(3, UNFINISHED, 0)}, 3),
    "unconfirmed": (rows.unconfirmed, {}, {"status": some(3, UNCONFIRMED, 0)}, 3),
    "zero gradients met": (rows.odd_answers, {}, {"n_zero_gradient": some(2, 4, 0)}, 2),
    "no numbers met": (rows.odd_answers, {}, {"n_nonfinite": some(5, 1, 0)}, 5),
    "black-box-only": (
        rows.black_box_only,
        {"attack": [PGD, SQUARE], **fell(20)},
        {"attack": [PGD, SQUARE], **fell(20, SQUARE)},
        20,
    ),
    "one to a black-box is luck": (
        rows.black_box_only,
        {"attack": [PGD, SQUARE], **fell(1, SQUARE)},
        {"attack": [PGD, "noise"], **fell(2, "noise")},
        2,
    ),
    "black-box-tried": (rows.diverse, {"attack": [PGD, SQUARE]}, {}, 0),
    "of pyautoattack": (rows.diverse, {"attack": ["pyautoattack"]}, {"attack": ["pyautoattack:version=rand"]}, 0),
    "unmoved": (rows.unmoved, fell(20, adv_margin=some(20, -1.0, 0.99)), fell(20, adv_margin=some(50, 0.5, 1.0)), 10),
    "unmoved, of what was attacked to the end": (
        rows.unmoved,
        fell(20, adv_margin=[-1.0] * 20 + [0.9] * 20 + [1.0] * 20, status=some(40, 0, UNFINISHED)),
        fell(20, adv_margin=[-1.0] * 20 + [0.9] * 20 + [1.0] * 20, status=some(55, 0, UNFINISHED)),
        15,
    ),
    "late-successes": (
        rows.late_successes,
        fell(45, first_success_step=some(3, 18, 3)),
        fell(40, first_success_step=some(8, 18, 3)),
        8,
    ),
    "last-restart": (
        rows.last_restart,
        fell(40, "pgd:restarts=3", broken_variant=some(40, 1)),
        fell(40, "pgd:restarts=3", broken_variant=some(20, 2, 0)),
        20,
    ),
    "last restart of a targeted attack": (  # two classes have one target each
        rows.last_restart,
        fell(40, "apgd:objective=dlr-targeted,restarts=2", broken_variant=some(40, 0)),
        fell(40, "apgd:objective=dlr-targeted,restarts=2", broken_variant=some(30, 1, 0)),
        30,
    ),
    "few-classes": (
        rows.few_classes,
        {"flags": json.dumps([{"name": "random", "text": "x"}])},
        {"flags": json.dumps([{"name": "few-classes", "text": "9 targets are cut to 1"}])},
        0,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_rows_that_speak_against_an_attack(name: str, linear, evidence: Callable, run_of: Callable) -> None:
    """The good run passes, the bad one fails with just the samples that were made so."""
    check, good, bad, count = CASES[name]
    assert check(evidence(linear(), **run_of(**good))).failed is False
    reading = check(evidence(linear(), **run_of(**bad)))
    assert reading.failed is True
    assert len(reading.evidence) == count


@pytest.mark.parametrize(
    ("check", "run", "why"),
    [
        (rows.black_box_only, {}, "no black-box attack after"),
        (rows.black_box_only, {"attack": [SQUARE, PGD]}, "no black-box attack after"),
        (rows.last_restart, fell(40), "restarts"),
        (rows.late_successes, fell(29), "fewer than 30"),
        (rows.late_successes, fell(40, SQUARE), "fewer than 30"),
        (rows.late_successes, fell(40, "fgsm"), "fewer than 30"),
        (rows.diverse, {"attack": [PGD, "foolbox:attack=LinfPGD"]}, "another package"),
        (points.constraints, {}, "--store-points"),
    ],
)
def test_rows_that_cannot_tell(check: Callable, run: dict, why: str, linear, evidence: Callable, run_of: Callable) -> None:
    """A check without what it needs says so."""
    with pytest.raises(Skip, match=why):
        check(evidence(linear(), **run_of(**run)))


def test_without_a_run_rows_say_nothing(linear, evidence: Callable) -> None:
    """Checks of rows need rows; those that a mini attack can answer do not."""
    e = evidence(linear())
    for check in (rows.reproduced, rows.unfinished, rows.late_successes, rows.few_classes, rows.diverse):
        with pytest.raises(Skip, match="no run"):
            check(e)
    assert rows.unmoved(e).failed is False


def test_what_a_run_left_standing_is_what_challengers_see(linear, evidence: Callable, run_of: Callable) -> None:
    """Rows are taken at their word: no attack in question is run again, and wrong samples are nobody's."""
    e = evidence(linear(), **run_of(**fell(20), clean_correct=some(5, False, True)))
    assert e.reference.tolist() == some(5, False, False)[:5] + [True] * 15 + [False] * 40
    assert e.standing.tolist() == [False] * 20 + [True] * 40
    assert e.forwards == e.backwards == 0


# -- points ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def audit(linear, evidence: Callable, run_of: Callable, split) -> Callable:
    """The audit of a run whose stored points were tampered with: `audit(lambda x, i: ...)`."""

    def run(change: Callable) -> points.Reading:
        model = linear()
        reach = 0.05 * model.w.abs().sum()
        within = model.score(split.images).abs() < 0.99 * reach
        away = torch.where(split.labels == 0, -1.0, 1.0)[:, None, None, None] * model.w.sign()
        x = split.images + 0.05 * away  # the worst point of a linear model
        stored = {int(split.ids[i]): change(x[i], i) for i in range(N)}
        kept = {key: value for key, value in stored.items() if value is not None}
        columns = {"adversarial": within.tolist(), "broken_by": [PGD if hit else None for hit in within.tolist()]}
        return points.constraints(evidence(model, points=kept, **run_of(**columns)))

    return run


def test_points_in_order_pass_the_audit(audit: Callable) -> None:
    """Also with rounding in the last digit of the budget."""
    reading = audit(lambda x, i: x)
    assert (reading.failed, reading.figure, reading.evidence) == (False, 0.0, ())


@pytest.mark.parametrize(
    "change",
    [
        lambda x, i: x + 1e-4 if i == 0 else x,  # beyond the budget
        lambda x, i: x * float("nan") if i == 0 else x,
        lambda x, i: x - 0.8 if i == 0 else x,  # out of the box
        lambda x, i: 1 - x if i == 0 else x,
        lambda x, i: None if i == 0 else x,  # sample 0 is within reach, so it fell and must have a point
    ],
    ids=["budget", "nan", "box", "far", "missing"],
)
def test_a_point_out_of_order_fails_the_audit(audit: Callable, change: Callable, split) -> None:
    """One of 60, and it is named."""
    reading = audit(change)
    assert reading.failed is True
    assert reading.evidence == (int(split.ids[0]),)


def test_a_point_with_another_label_than_the_rows_say_fails_the_audit(
    linear, evidence: Callable, run_of: Callable, split
) -> None:
    """A sample said to have fallen whose point is classified correctly."""
    stored = {int(sample): x for sample, x in zip(split.ids, split.images, strict=True)}
    reading = points.constraints(evidence(linear(), points=stored, **run_of(**fell(3))))
    assert reading.evidence == tuple(split.ids[:3].tolist())


@pytest.mark.parametrize("spec", ["fmn", "deepfool", "hopskipjump:steps=50", "square:steps=10", "pyautoattack"])
def test_attacks_that_visit_no_point_in_vain_are_not_judged_by_it(
    spec: str, linear, evidence: Callable, run_of: Callable
) -> None:
    """Minimum-norm attacks, black boxes and other packages leave the clean margin where they fail: no sign of anything."""
    with pytest.raises(Skip, match="climbs"):
        rows.unmoved(evidence(linear(), **run_of(attack=[spec], **fell(5, adv_margin=some(5, -1.0, 1.0)))))
