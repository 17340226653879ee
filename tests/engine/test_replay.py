"""Points of another run, tried before any attack."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robbench.core.status import OK
from robbench.data.base import Split
from robbench.engine.records import CLEAN, REPLAY

pytestmark = pytest.mark.usefixtures("one_thread")

SPECS = ["pgd:steps=4,restarts=2", "apgd:steps=12"]


Run = Callable[..., Any]


def _of_level(points: Mapping[tuple[int, int], Tensor], level: int = 0) -> dict[int, Tensor]:
    return {i: x for (i, n), x in points.items() if n == level}


@pytest.mark.usefixtures("equal_rows")
@pytest.mark.parametrize("threat", ["linf:0.12", "l2:0.6"])
@pytest.mark.parametrize("width", [7, 64])
def test_every_broken_sample_falls_again_to_its_own_point(
    threat: str, width: int, digits: Any, told: Run
) -> None:
    """One forward more than the clean pass, the numbers it fell with, and no attack on it."""
    split = digits.split.take(torch.arange(60))
    first = told(SPECS, digits.model, split, threat)
    again = told(SPECS, digits.model, split, threat, width=width, replay=_of_level(first.points))
    replayed = 0
    for key, v in first.verdicts.items():
        other = again.verdicts[key]
        if v.entry == CLEAN:
            assert other == v
        elif v.adversarial:
            replayed += 1
            assert other == v._replace(entry=REPLAY, variant=-1, step=-1, n_forward=2, n_backward=0)
            assert torch.equal(again.points[key], first.points[key])
        else:  # a point that breaks nothing costs one look
            assert other == v._replace(n_forward=v.n_forward + (key in first.points))
    assert replayed > 10


def test_points_too_large_for_the_smaller_budgets_count_at_the_larger(
    digits: Any, told: Run
) -> None:
    """A stored point breaks its sample from the first budget that holds it; below, no change."""
    split, budgets = digits.split.take(torch.arange(60)), (0.05, 0.1, 0.2)
    points = _of_level(told(["fgsm"], digits.model, split, "linf:0.2").points)
    points |= _of_level(
        told(["fgsm"], digits.model, split.take(torch.arange(30)), "linf:0.1").points
    )
    plain = told(SPECS, digits.model, split, "linf:0.05,0.1,0.2")
    found = told(SPECS, digits.model, split, "linf:0.05,0.1,0.2", replay=points)
    fell: list[tuple[int, int]] = []
    for (i, n), v in found.verdicts.items():
        before = plain.verdicts[i, n]
        if before.entry == CLEAN:
            assert v == before
            continue
        x0, y = split.pixels(slice(i, i + 1)), int(split.labels[i])
        size = float((points[i] - x0[0]).abs().max()) if i in points else torch.inf
        with torch.no_grad():
            breaks = (
                i in points
                and int(digits.model(points[i][None]).argmax()) != y
                and size <= budgets[n] + 1e-6
            )
        assert v.adversarial == (before.adversarial or breaks)
        below = n > 0 and found.verdicts[i, n - 1].adversarial
        if breaks and not below:
            assert (v.entry, v.variant, v.step, v.linf) == (REPLAY, -1, -1, size)
            assert v.n_forward == (2 if n == 0 else v.n_forward)
            fell.append((i, n))
        elif not below:
            assert v == before._replace(n_forward=before.n_forward + (i in points))
    assert {n for _, n in fell} == {1, 2}


def test_points_of_another_model(digits: Any, told: Run) -> None:
    """Another model's points count where they break this one, else the attack runs as ever."""
    torch.manual_seed(5)
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    split = digits.split.take(torch.arange(40))
    points = _of_level(told(["apgd:steps=5"], other, split, "linf:0.3").points)
    noise = {
        i: (split.pixels(slice(i, i + 1))[0] + 0.3 * torch.rand(1, 8, 8).sub(0.5).sign()).clamp(
            0, 1
        )
        for i in range(40)
    }
    plain = told(["pgd:steps=2"], digits.model, split, "linf:0.3").verdicts
    entries = set()
    for replay in (points, noise):
        for key, v in told(
            ["pgd:steps=2"], digits.model, split, "linf:0.3", replay=replay
        ).verdicts.items():
            entries.add(v.entry)
            if v.entry == REPLAY:
                with torch.no_grad():
                    assert (
                        int(digits.model(replay[key[0]][None]).argmax())
                        == v.adv_pred
                        != int(split.labels[key[0]])
                    )
            elif v.entry != CLEAN:
                assert v == plain[key]._replace(n_forward=plain[key].n_forward + (key[0] in replay))
    assert REPLAY in entries


@pytest.mark.parametrize("bad", ["far", "outside the box", "nan", "clean"])
def test_points_that_prove_nothing(bad: str, digits: Any, told: Run) -> None:
    """A point outside budget or box, NaN or clean is checked once and breaks nothing."""
    split = digits.split.take(torch.arange(20))
    x0 = split.pixels(slice(None))
    points = {"far": 1 - x0, "outside the box": x0 - 0.05, "nan": x0 * torch.nan, "clean": x0}[bad]
    plain = told(["fgsm"], digits.model, split, "linf:0.06").verdicts
    found = told(
        ["fgsm"], digits.model, split, "linf:0.06", replay=dict(enumerate(points))
    ).verdicts
    for key, v in found.items():
        assert v == plain[key]._replace(n_forward=plain[key].n_forward + (v.entry != CLEAN))
        assert v.status == OK


def test_replay_without_a_budget(digits: Any, told: Run) -> None:
    """A stored point is one candidate for the smallest: it stays unless an attack is nearer."""
    split = digits.split.take(torch.arange(40))
    good = told(["fmn:steps=40"], digits.model, split, "l2:inf")
    poor = told(["fmn:steps=6"], digits.model, split, "l2:inf")
    for mine, spec, theirs in ((good, "fmn:steps=6", poor), (poor, "fmn:steps=40", good)):
        found = told([spec], digits.model, split, "l2:inf", replay=_of_level(mine.points)).verdicts
        for key, v in found.items():
            if v.entry == CLEAN:
                continue
            stored, fresh = (
                r.verdicts[key].l2 if r.verdicts[key].adversarial else torch.inf
                for r in (mine, theirs)
            )
            assert v.l2 == min(stored, fresh)
            assert v.entry == (REPLAY if stored <= fresh else 0)
            assert v.n_backward == theirs.verdicts[key].n_backward  # the attack is run all the same
    assert any(good.verdicts[key].l2 < v.l2 for key, v in poor.verdicts.items())


class Coin(nn.Module):
    """Right at the data (multiples of 1/16); elsewhere wrong in 30 %, drawn at each query."""

    def __init__(self, split: Split) -> None:
        super().__init__()
        self.known = {
            x.numpy().tobytes(): int(y)
            for x, y in zip((split.pixels(slice(None)) * 16).round(), split.labels, strict=True)
        }

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tensor([self.known[row.numpy().tobytes()] for row in (x.detach() * 16).round()])
        moved = ((x * 16).round() != x * 16).flatten(1).any(1)
        wrong = moved & (torch.rand(len(x)) < 0.3)
        return (
            5.0 * nn.functional.one_hot(torch.where(wrong, (y + 1) % 10, y), 10)
            + 0 * x.flatten(1).sum(1)[:, None]
        )


def test_a_lucky_draw_is_no_replay(digits: Any, told: Run) -> None:
    """Attacks on a random model need most draws; so does a stored point: a third fails."""
    split = digits.split.take(torch.arange(60))
    points = dict(enumerate((split.pixels(slice(None)) - 0.02).abs()))
    torch.manual_seed(0)
    verdicts = told(
        ["eot:attack=(noise:steps=1),draws=15"], Coin(split), split, "linf:0.03", replay=points
    ).verdicts
    assert sum(v.entry == CLEAN for v in verdicts.values()) == 0
    assert (
        sum(v.entry == REPLAY for v in verdicts.values()) <= 9
    )  # of 60: 3 expected by majority, 18 by single draws
