"""Attacks on random models: what is averaged and counted; a lucky draw is no success."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robbench.attacks.base import Attack
from robbench.catalogue.builtins import ATTACKS
from robbench.core.errors import UserError
from robbench.core.tiles import Tiles
from robbench.engine.lane import Job, Lane
from robbench.testing import judge, toy_model, toy_split
from robbench.threat.model import parse_threat
from robbench.threat.problem import Problem

pytestmark = pytest.mark.usefixtures("one_thread")


class Masked:
    """Two linear classes whose calls drop some of 8 inputs, never wrong; notes masks and points."""

    def __init__(self, y: Tensor) -> None:
        self.bonus = 50.0 * nn.functional.one_hot(y, 2)
        self.generator = torch.Generator().manual_seed(0)
        self.weight = torch.randn(2, 10, generator=self.generator, dtype=torch.float64)
        self.calls: list[tuple[Tensor, Tensor]] = []

    def __call__(self, x: Tensor) -> Tensor:
        mask = (torch.rand(10, generator=self.generator) < 0.5).double() + 0.1
        self.calls.append((mask, x.detach()))
        return (mask * x) @ self.weight.T + self.bonus


@pytest.mark.parametrize("draws", [1, 4])
def test_it_climbs_the_mean_gradient_of_its_draws(
    draws: int, problem: Callable[..., Problem], conquer: Callable[..., Any]
) -> None:
    """FGSM in l2 goes to x0 + eps g/|g|, g the mean over masks, each used for the same points."""
    y = torch.arange(8) % 2
    model = Masked(y)
    x0 = 0.4 + 0.2 * torch.rand(
        8, 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    p = problem(model, x0, y, torch.full((8,), 0.1, dtype=torch.float64), "l2")
    model.calls.clear()
    conquer(ATTACKS.build(f"eot:attack=(fgsm:objective=margin),draws={draws}"), model, p)
    first, second = model.calls[:draws], model.calls[draws : 2 * draws]
    assert all(torch.equal(x, x0) for _, x in first)
    mask = torch.stack([mask for mask, _ in first]).mean(0)
    g = mask * (model.weight[1 - y] - model.weight[y])
    right = x0 + 0.1 * g / g.norm(dim=1, keepdim=True)
    asked = second[0][1]
    assert len(asked) == 8
    assert all(torch.equal(x, asked) for _, x in second)
    torch.testing.assert_close(asked, right, rtol=0, atol=1e-12)
    if draws > 1:
        last = first[-1][0] * (model.weight[1 - y] - model.weight[y])
        assert not torch.allclose(
            asked, x0 + 0.1 * last / last.norm(dim=1, keepdim=True), atol=1e-3
        )


class Wavering(nn.Module):
    """Right about the toy split, but for some of each `period` calls, all wrong."""

    def __init__(self, period: int, wrong: int) -> None:
        super().__init__()
        self.model, self.period, self.wrong, self.calls = toy_model(), period, wrong, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        sign = -1 if self.calls % self.period < self.wrong else 1
        logits: Tensor = self.model(x)
        return sign * logits


@pytest.mark.parametrize(
    ("draws", "wrong", "broken"), [(3, 1, False), (3, 2, True), (4, 2, False), (4, 3, True)]
)
def test_success_is_by_majority(
    draws: int, wrong: int, broken: bool, problem: Callable[..., Problem], conquer: Any
) -> None:
    """Wrong in at most half of its draws a point is not booked, whichever draw came last."""
    split = toy_split(24)
    x0 = split.pixels(slice(None))
    right = toy_model()(x0).argmax(1) == split.labels
    x0, y = x0[right], split.labels[right]
    attack = ATTACKS.build(f"eot:attack=(pgd:steps=3),draws={draws}")
    p = problem(toy_model(), x0, y, torch.full((len(y),), 1e-4), "linf")
    for shift in range(draws):
        model = Wavering(draws, wrong)
        model.calls = shift
        endings = conquer(attack, model, p)
        assert [ending.variant is not None for ending in endings] == [broken] * len(endings)
    lucky = conquer(ATTACKS.build("pgd:steps=3"), Wavering(draws, wrong), p)
    assert all(
        ending.variant is not None for ending in lucky
    )  # with one draw a query some draw is wrong


def test_every_draw_is_counted(problem: Callable[..., Problem]) -> None:
    """A model that is never wrong: as many forwards a query and backwards a move as draws."""
    y = torch.arange(8) % 2
    model = Masked(y)
    p = problem(
        model,
        torch.full((8, 10), 0.5, dtype=torch.float64),
        y,
        torch.full((8,), 0.1, dtype=torch.float64),
        "l2",
    )
    model.calls.clear()
    attack = ATTACKS.build("eot:attack=(pgd:steps=4),draws=5")
    lane = Lane(
        attack, model, lambda jobs: p, width=8, tiles=Tiles(8, 8), device=torch.device("cpu")
    )  # type: ignore[arg-type]
    lane.queue.extend(Job(i) for i in range(8))
    done = None
    while lane.waiting:
        done = lane.step()
    assert done is not None
    assert done.book.n_forward.tolist() == [5 * 5] * 8 == [len(model.calls)] * 8
    assert done.book.n_backward.tolist() == [5 * 4] * 8


def test_clean_inputs_are_drawn_as_often() -> None:
    """A sample correct in a minority of draws is misclassified unattacked, after these forwards."""
    split = toy_split(24)
    for draws, wrong, adversarial in ((5, 3, True), (5, 2, False)):
        (entry,) = {
            (v.adversarial, v.n_forward if v.adversarial else 5)
            for v in judge(
                f"eot:attack=(pgd:steps=1),draws={draws}",
                Wavering(draws, wrong),
                split,
                parse_threat("linf:0")[0],
            )
            if int(toy_model()(split.pixels(slice(v.sample, v.sample + 1))).argmax())
            == int(split.labels[v.sample])
        }
        assert entry == (adversarial, draws)


@pytest.mark.parametrize(
    "inner", ["pgd:steps=5,restarts=2", "apgd-t:steps=5", "minimal:attack=(pgd:steps=3),rounds=2"]
)
def test_on_a_fixed_model_it_is_the_inner_attack(
    inner: str, problem: Callable[..., Problem], conquer: Any
) -> None:
    """Every draw is the same: so are variants, steps and points."""
    split, model = toy_split(24), toy_model()
    p = problem(model, split.pixels(slice(None)), split.labels, torch.full((24,), 0.02), "linf")
    alone = conquer(ATTACKS.build(inner), model, p)
    drawn = conquer(
        ATTACKS.build(f"eot:attack=({inner}),draws=2"), model, p
    )  # the mean of two equal numbers is exact
    assert 0 < sum(ending.variant is not None for ending in alone) < 24
    for a, b in zip(alone, drawn, strict=True):
        assert (a.variant, a.step, a.margin) == (b.variant, b.step, b.margin)
        assert torch.equal(a.x, b.x)


def test_what_it_is_comes_from_inside() -> None:
    """Steps, variants, norms and what it seeks are the inner attack's; the draws are its own."""
    attack, inner = (
        ATTACKS.build("eot:attack=(minimal:attack=apgd-t),draws=3"),
        ATTACKS.build("minimal:attack=apgd-t"),
    )
    assert isinstance(attack, Attack)
    assert isinstance(inner, Attack)
    assert (attack.steps, attack.variants(5), attack.norms, attack.goal) == (
        inner.steps,
        4,
        inner.norms,
        "minimum-norm",
    )
    assert (attack.draws, inner.draws) == (3, 1)


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("eot:attack=(pgd:steps=5),draws=3", "eot:attack=(pgd:steps=5),draws=3"),
        ("eot:draws=3,attack=(pgd:steps=05,restarts=1)", "eot:attack=(pgd:steps=5),draws=3"),
        ("eot:attack=(apgd-ce),draws=20", "eot"),
        ("eot:attack=apgd-dlr", "eot:attack=(apgd:objective=dlr)"),
        (
            "eot:attack=(minimal:attack=(pgd:rate=1/4))",
            "eot:attack=(minimal:attack=(pgd:rate=0.25))",
        ),
    ],
)
def test_wrapped_specs_are_canonical_and_round_trip(written: str, canonical: str) -> None:
    """Each thing has one spelling, which builds it again."""
    assert ATTACKS.canonical(written) == canonical
    assert ATTACKS.canonical(canonical) == canonical
    assert ATTACKS.build(canonical) == ATTACKS.build(written)
    assert ATTACKS.build(ATTACKS.canonical(written, full=True)) == ATTACKS.build(written)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("eot:attack=(eot:draws=2)", "nest eot once"),
        ("eot:attack=(minimal:attack=eot)", "nest eot once"),
        ("eot:attack=pyautoattack", "another package"),
        ("eot:attack=pdg", "did you mean pdpgd, pgd"),
        ("eot:attack=(pgd:steps=0)", "steps"),
        ("eot:draws=0", "draws"),
    ],
)
def test_what_cannot_work_is_refused(spec: str, words: str) -> None:
    """One line that names what is wrong, also when it is inside."""
    with pytest.raises(UserError, match=words):
        ATTACKS.build(spec)
