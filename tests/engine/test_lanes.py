"""Attacks side by side: what they get as the model, and the model's check of claims."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robbench.attacks.base import AttackEntry
from robbench.core.status import OK, UNCONFIRMED
from robbench.data.base import Split
from robbench.data.stream import Decoder, StreamedImages
from robbench.engine.cascade import Cascade
from robbench.engine.lane import NO_LIMIT, Lane
from robbench.engine.oracle import ModelOracle
from robbench.engine.records import CLEAN, NOTHING
from robbench.threat.model import parse_threat

from .ladders import Line, ladder

pytestmark = pytest.mark.usefixtures("one_thread")


# -- claims: a walk along a ray, where model and stand-in draw their line at different places


@pytest.mark.parametrize("width", [1, 4, 64])
def test_a_row_goes_on_after_a_refused_claim(
    width: int, dark: Split, run: Callable[..., Any]
) -> None:
    """Claims at 0.26 and 0.28 are refused, a forward each; the row continues to 0.31."""
    story = run(
        [ladder((0.1, 0.26, 0.28, 0.31, 0.9))],
        Line(0.5),
        dark,
        "linf:0.5",
        width=width,
        fast=Line(0.45),
    )
    for v in story.verdicts:
        assert (v.adversarial, v.entry, v.variant, v.step, v.status) == (True, 0, 0, 4, OK)
        assert v.linf == pytest.approx(0.31, abs=1e-6)
        assert v.n_forward == 1 + 5 + 3
    assert story.disagreements == 20


def test_rows_that_go_on_do_not_hold_up_others(dark: Split, run: Callable[..., Any]) -> None:
    """Some samples are claimed wrongly, some rightly, at different steps, more than rows."""
    images = dark.images.clone()
    images[:, 0, 0, 0] = 0.205 + 0.02 * torch.arange(10)
    split = dataclasses.replace(dark, images=images, ids=torch.arange(10))
    rungs = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.32)
    one, many = (
        run([ladder(rungs)], Line(0.5), split, "linf:0.4", width=width, fast=Line(0.43))
        for width in (1, 64)
    )
    assert one.verdicts == many.verdicts
    for v in one.verdicts:
        first = float(images[v.sample, 0, 0, 0])
        true = [n for n, rung in enumerate(rungs) if first + rung > 0.5]
        vain = [n for n, rung in enumerate(rungs) if 0.43 < first + rung <= 0.5]
        assert (v.adversarial, v.step, v.n_forward) == (
            True,
            true[0] + 1,
            1 + true[0] + 2 + len(vain) + 1,
        )


def test_the_next_variant_and_the_next_attack_get_their_turn(
    dark: Split, run: Callable[..., Any]
) -> None:
    """A claim refused at the last step ends the row: the sample goes to the next attack."""
    first = ladder((0.1, 0.26), (0.28, 0.27), (0.1, 0.31))
    story = run([first], Line(0.5), dark, "linf:0.5", fast=Line(0.45))
    assert {(v.adversarial, v.entry, v.variant, v.step) for v in story.verdicts} == {
        (True, 0, 2, 2)
    }
    assert {v.n_forward for v in story.verdicts} == {1 + 3 * 3 + 1 + 2 + 1}
    story = run(
        [ladder((0.1, 0.26)), ladder((0.31, 0.4))], Line(0.5), dark, "linf:0.5", fast=Line(0.45)
    )
    assert {(v.adversarial, v.entry, v.variant, v.step) for v in story.verdicts} == {
        (True, 1, 0, 1)
    }


def test_refused_claims_alone_break_nothing(dark: Split, run: Callable[..., Any]) -> None:
    """A mistake only of the fast copy is none, and its rounding is no flag of the model."""
    story = run([ladder((0.26, 0.27, 0.29))], Line(0.5), dark, "linf:0.5", fast=Line(0.45))
    for v in story.verdicts:
        assert (v.adversarial, v.entry, v.variant, v.step, v.status, v.adv_pred) == (
            False,
            NOTHING,
            -1,
            -1,
            OK,
            0,
        )
        assert v.adv_margin > 0
    assert story.disagreements == 30


def test_a_model_that_refuses_its_own_claims_is_marked(
    dark: Split, run: Callable[..., Any], measured: Any
) -> None:
    """Without a stand-in a refused claim is the model's own contradiction: status UNCONFIRMED."""

    class Moody(Line):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return super().forward(x) if self.calls != 3 else -super().forward(x)

    moody, few = Moody(0.5), dark.take(torch.arange(8))
    measured(moody, few)
    moody.calls = 0
    story = run([ladder((0.1, 0.15, 0.2))], moody, few, "linf:0.5", width=8)
    assert {(v.adversarial, v.status) for v in story.verdicts} == {(False, UNCONFIRMED)}
    assert story.disagreements == 8


def test_recheck_sees_what_the_stand_in_missed(dark: Split, run: Callable[..., Any]) -> None:
    """The worst point of a row without success is checked at once, and counts if wrong."""
    ladders = [ladder((0.1, 0.2)), ladder((0.25, 0.35)), ladder((0.6, 0.1))]
    for recheck in (False, True):
        story = run(ladders, Line(0.5), dark, "linf:0.4", fast=Line(0.65), recheck=recheck)
        for v in story.verdicts:
            assert (v.adversarial, v.entry, v.step, v.status) == (True, 1, -1, OK)
            assert v.linf == pytest.approx(0.35, abs=1e-6)
            assert v.n_forward == (1 + 3 + 1 + 3 + 1 if recheck else 1 + 3 + 3 + 3 + 1)
        assert story.disagreements == (10 if recheck else 0)


def test_recheck_at_several_budgets(dark: Split, run: Callable[..., Any]) -> None:
    """Each budget's worst point is checked, and what is found counts from that budget on."""
    for recheck in (False, True):
        story = run(
            [ladder((0.1, 0.2, 0.33, 0.38))],
            Line(0.5),
            dark,
            "linf:0.25,0.35,0.4",
            fast=Line(0.65),
            recheck=recheck,
        )
        levels = {
            level: {v.adversarial for v in story.verdicts if v.eps_index == level}
            for level in range(3)
        }
        assert levels == {0: {False}, 1: {True}, 2: {True}}


def test_without_a_budget_a_claim_too_many_does_not_cost_the_others(
    dark: Split, run: Callable[..., Any]
) -> None:
    """The model confirms 0.4 and 0.35; the copy's mistake at 0.26 must not lose the sample."""
    story = run([ladder((0.4, 0.35, 0.26, 0.1))], Line(0.5), dark, "linf:inf", fast=Line(0.45))
    assert {v.adversarial for v in story.verdicts} == {True}


# -- claims: trained networks

CASCADE = ["pgd:steps=4,restarts=2", "apgd:steps=8", "apgd-t:steps=6,targets=3"]


def _perturbed(model: nn.Module, share: float) -> nn.Module:
    """A copy with every weight off by a random share."""
    generator = torch.Generator().manual_seed(7)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for weight in other.parameters():
            weight.mul_(1 + share * torch.randn(weight.shape, generator=generator))
    return other


@pytest.mark.parametrize("recheck", [False, True])
@pytest.mark.parametrize("share", [0.02, 0.3])
def test_only_what_breaks_the_model_counts(
    share: float, recheck: bool, digits: Any, run: Callable[..., Any]
) -> None:
    """However wrong the copy is, a sample is adversarial only where the model itself errs."""
    split = digits.split.take(torch.arange(60))
    story = run(
        CASCADE,
        digits.model,
        split,
        "linf:0.12",
        fast=_perturbed(digits.model, share),
        recheck=recheck,
    )
    with torch.no_grad():
        clean = digits.model(split.pixels(slice(None)))
    broken = 0
    for v in story.verdicts:
        y = int(split.labels[v.sample])
        assert v.clean_pred == int(clean[v.sample].argmax())
        assert (v.entry == CLEAN) == (v.clean_pred != y)
        assert v.status == OK
        if v.adversarial and v.entry != CLEAN:
            broken += 1
            x, x0 = story.points[v.sample], split.pixels(slice(v.sample, v.sample + 1))[0]
            with torch.no_grad():
                assert int(digits.model(x[None]).argmax()) == v.adv_pred != y
            assert float((x - x0).abs().max()) <= 0.12 + 1e-6
            assert bool(((x >= 0) & (x <= 1)).all())
    assert broken > 5
    assert story.disagreements > 0 or share < 0.1


def test_recheck_never_loses_a_sample(digits: Any, run: Callable[..., Any]) -> None:
    """What breaks without recheck breaks with it; better copies disagree less."""
    split = digits.split.take(torch.arange(60))
    counts = []
    for share in (0.0, 0.05, 0.3):
        plain, checked = (
            run(
                CASCADE,
                digits.model,
                split,
                "linf:0.1",
                fast=_perturbed(digits.model, share),
                recheck=recheck,
            )
            for recheck in (False, True)
        )
        assert all(
            b.adversarial
            for a, b in zip(plain.verdicts, checked.verdicts, strict=True)
            if a.adversarial
        )
        counts.append(checked.disagreements)
    assert counts[0] == 0 < counts[1] < counts[2]


@pytest.mark.usefixtures("equal_rows")
@pytest.mark.parametrize(
    "width", [11, *(pytest.param(width, marks=pytest.mark.slow) for width in (1, 40))]
)
@pytest.mark.parametrize("recheck", [False, True])
def test_widths_change_nothing_with_a_stand_in(
    width: int, recheck: bool, digits: Any, run: Callable[..., Any]
) -> None:
    """Refused claims and rows that go on are a matter of each sample alone."""
    split, stand_in = digits.split.take(torch.arange(24)), _perturbed(digits.model, 0.2)
    settings = {"fast": stand_in, "recheck": recheck}
    whole = run(CASCADE, digits.model, split, "linf:0.06,0.12", **settings)
    part = run(CASCADE, digits.model, split, "linf:0.06,0.12", width=width, **settings)
    assert part.verdicts == whole.verdicts
    assert part.disagreements == whole.disagreements > 0


@pytest.mark.usefixtures("equal_rows")
@pytest.mark.parametrize(
    ("blind", "queries"),
    [
        (3, 25),
        pytest.param(8, NO_LIMIT, marks=pytest.mark.slow),
        pytest.param(3, NO_LIMIT, marks=pytest.mark.slow),
        pytest.param(8, 25, marks=pytest.mark.slow),
    ],
)
def test_several_steps_between_two_looks_change_nothing(
    blind: int,
    queries: int,
    digits: Any,
    run: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on a GPU, where finished rows wait: claims, budgets and limits come out the same."""
    split = digits.split.take(torch.arange(40))
    settings: dict[str, Any] = {
        "fast": _perturbed(digits.model, 0.2),
        "recheck": True,
        "width": 16,
        "queries": queries,
    }
    specs = [*CASCADE, "fmn:steps=12"]
    each = run(specs, digits.model, split, "l2:0.3,0.7", **settings)
    free = run(["fmn:steps=9", "ddn:steps=9"], digits.model, split, "l2:inf", **settings)
    made = Lane.__init__

    def slower(self: Lane, *args: Any, **more: Any) -> None:
        made(self, *args, **more)
        self.blind = blind

    monkeypatch.setattr(Lane, "__init__", slower)
    monkeypatch.setattr(ModelOracle, "_all_alike", lambda *_: True)
    some = run(specs, digits.model, split, "l2:0.3,0.7", **settings)
    assert some.verdicts == each.verdicts
    assert some.disagreements == each.disagreements > 0
    assert (
        run(["fmn:steps=9", "ddn:steps=9"], digits.model, split, "l2:inf", **settings).verdicts
        == free.verdicts
    )


@pytest.mark.parametrize("streamed", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_few_worst_points_of_a_streamed_split_are_held_at_a_time(
    streamed: bool,
    digits: Any,
    entries: Callable[..., list[AttackEntry]],
) -> None:
    """There a sample goes through all its variants and budgets before many others begin.

    Of a split in memory all go side by side, so that batches stay full to the end.
    """
    split = digits.split.take(torch.arange(300))
    if streamed:
        images = split.images.numpy()
        decoder = Decoder(lambda rows: images[rows], images.shape[1:], images.dtype, 0)
        split = dataclasses.replace(split, images=StreamedImages(decoder, np.arange(300)))
    cascade = Cascade(
        digits.model,
        split,
        parse_threat("linf:0.001,0.002"),
        entries(["pgd:steps=2,restarts=3", "fgsm"]),
        seed=0,
        width=8,
    )
    held = [
        sum(record.x is not None for record in cascade.ledger.records)
        for update in cascade.run()
        if update.entries
    ]
    assert 0 < max(held) <= 40 if streamed else max(held) > 100
