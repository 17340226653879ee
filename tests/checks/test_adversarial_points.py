"""Checks of the stored points: handmade runs that are in order, and ones that are not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch

from robbench.checks import (
    adversarial_points,
)
from robbench.checks.evidence import Skip

N = 60


PGD = "pgd:steps=20"


def some(n: int, yes: object, no: object = None) -> list:
    """The first n samples are one thing, the others another."""
    return [yes] * n + [no] * (N - n)


def fell(n: int, spec: str = PGD, **columns: list) -> dict:
    """The first n samples fell to an attack."""
    return {"adversarial": some(n, True, False), "broken_by": some(n, spec), **columns}


def test_points_of_a_random_model_do_not_survive_rounding(told_apart: Callable) -> None:
    """The same samples, labels and threat: only what is looked for differs."""
    good, bad = told_apart(
        adversarial_points.quantised, lambda x: x + 0.05 * torch.randn_like(x), 1
    )
    assert len(bad.evidence) > len(good.evidence)


@pytest.fixture
def checked(linear, evidence: Callable, run_of: Callable, split) -> Callable:
    """The reading of a run whose stored points were tampered with: `checked(lambda x, i: ...)`."""

    def run(change: Callable, free: torch.Tensor | None = None) -> adversarial_points.Reading:
        model = linear()
        reach = 0.05 * model.w.abs().sum()
        within = model.score(split.images).abs() < 0.99 * reach
        away = torch.where(split.labels == 0, -1.0, 1.0)[:, None, None, None] * model.w.sign()
        x = split.images + 0.05 * away  # the worst point of a linear model
        stored = {int(split.ids[i]): change(x[i], i) for i in range(N)}
        kept = {key: value for key, value in stored.items() if value is not None}
        columns = {
            "adversarial": within.tolist(),
            "broken_by": [PGD if hit else None for hit in within.tolist()],
        }
        held = dataclasses.replace(split, free=free)
        return adversarial_points.constraints(
            evidence(model, held, points=kept, **run_of(**columns))
        )

    return run


def test_features_are_not_saved_as_images(
    linear: Callable, evidence: Callable, made: Callable, split: Any
) -> None:
    """Eight bits mean nothing to a table."""
    flat = made(split.images.flatten(1), split.labels)
    with pytest.raises(Skip, match="no images"):
        adversarial_points.quantised(evidence(linear(), flat))


def test_points_in_order_pass(checked: Callable) -> None:
    """Also with rounding in the last digit of the budget."""
    reading = checked(lambda x, i: x)
    assert (reading.failed, reading.figure, reading.evidence) == (False, 0.0, ())


def test_fixed_entries_must_be_as_they_were(checked: Callable) -> None:
    """Points that moved one are out of bounds."""
    free = torch.ones(1, 4, 4, dtype=torch.bool)
    free[0, 0, 2] = False  # of weight 0.5: no sample depends on it
    moved = checked(lambda x, i: x, free)
    assert (moved.failed, len(moved.evidence)) == (True, N)


@pytest.mark.parametrize(
    "change",
    [
        lambda x, i: x + 1e-4 if i == 0 else x,  # beyond the budget
        lambda x, i: x * float("nan") if i == 0 else x,
        lambda x, i: x - 0.8 if i == 0 else x,  # out of the box
        lambda x, i: 1 - x if i == 0 else x,
        lambda x, i: (
            None if i == 0 else x
        ),  # sample 0 is within reach, so it fell and must have a point
    ],
    ids=["budget", "nan", "box", "far", "missing"],
)
def test_a_point_out_of_order_fails(checked: Callable, change: Callable, split) -> None:
    """One of 60, and it is named."""
    reading = checked(change)
    assert reading.failed is True
    assert reading.evidence == (int(split.ids[0]),)


def test_a_point_with_another_label_than_the_rows_say_fails(
    linear, evidence: Callable, run_of: Callable, split
) -> None:
    """A sample said to have fallen whose point is classified correctly."""
    stored = {int(sample): x for sample, x in zip(split.ids, split.images, strict=True)}
    reading = adversarial_points.constraints(evidence(linear(), points=stored, **run_of(**fell(3))))
    assert reading.evidence == tuple(split.ids[:3].tolist())


def test_points_are_checked_where_they_were_stored(
    linear, evidence: Callable, run_of: Callable
) -> None:
    """Without stored points the check says how to get them."""
    with pytest.raises(Skip, match="--store-points"):
        adversarial_points.constraints(evidence(linear(), **run_of()))
