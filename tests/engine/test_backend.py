"""A backend's chunk: its queries are shared out completely, and its points are judged."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from robbench.attacks.base import Backend
from robbench.core.tiles import Tiles
from robbench.engine.backend import attempts_of
from robbench.engine.schedule import Trial
from robbench.threat.norms import NORMS
from robbench.threat.problem import Problem

pytestmark = pytest.mark.usefixtures("one_thread")

TRIAL = Trial(eps_index=1, entry=3, variant=0)


@dataclasses.dataclass(frozen=True)
class Shift(Backend):
    """Adds amounts [B] to the first pixel, after some forwards of all rows and of single ones."""

    amounts: tuple[float, ...]
    passes: int = 1
    single: int = 0
    n_backward: int = 0

    def run(self, model: nn.Module, p: Problem, *, seed: int) -> Tensor:
        with torch.no_grad():
            for _ in range(self.passes):
                model(p.x0)
            for _ in range(self.single):
                model(p.x0[:1])
        for _ in range(self.n_backward):
            x = p.x0[:1].clone().requires_grad_()
            torch.autograd.grad(model(x).sum(), x)
        moved = p.x0.clone()
        moved[:, 0] += torch.tensor(self.amounts)
        return moved


class Line(nn.Module):
    """Class 1 where the first pixel is above 0.5, with a slope of ten."""

    def forward(self, x: Tensor) -> Tensor:
        z = 10 * (x[:, 0] - 0.5)
        return torch.stack([-z, z], 1)


def _problem(rows: int, eps: float) -> Problem:
    return Problem.of(
        torch.full((rows, 2), 0.4), torch.zeros(rows, dtype=torch.int64), eps, NORMS["linf"]
    )


@pytest.mark.parametrize("rows", [1, 2, 5, 7])
@pytest.mark.parametrize(("passes", "single", "n_backward"), [(0, 0, 0), (2, 0, 1), (1, 3, 9)])
def test_queries_are_shared_out(rows: int, passes: int, single: int, n_backward: int) -> None:
    """The sum is what passed the model; samples differ by at most one; each pays its check."""
    attack = Shift((0.0,) * rows, passes, single, n_backward)
    samples = list(range(10, 10 + rows))
    found = attempts_of(
        attack, Line(), _problem(rows, 0.1), samples, TRIAL, seed=0, tiles=Tiles(32, 8)
    )
    asked = passes * rows + single + n_backward
    for counts, total in (
        ([a.n_forward - 1 for a in found], asked),
        ([a.n_backward for a in found], n_backward),
    ):
        assert sum(counts) == total
        assert max(counts) - min(counts) <= 1
    assert [a.sample for a in found] == samples
    assert {a.trial for a in found} == {TRIAL}


def test_its_points_are_judged() -> None:
    """In the budget and wrong, right, outside, and left alone: the model's margin at each."""
    amounts = (0.15, 0.05, 0.3, 0.0)
    found = attempts_of(
        Shift(amounts), Line(), _problem(4, 0.2), range(4), TRIAL, seed=0, tiles=Tiles(32, 8)
    )
    assert [a.judged is not None and a.judged.adversarial for a in found] == [
        True,
        False,
        False,
        False,
    ]
    assert [a.judged is not None and a.judged.fits for a in found] == [True, True, False, True]
    expected = [-2 * 10 * (0.4 + amount - 0.5) for amount in amounts]
    assert [a.margin for a in found] == pytest.approx(expected, abs=1e-5)
    assert [a.judged and a.judged.linf for a in found] == pytest.approx(amounts, abs=1e-6)
    # Who returns the clean input has not said what it tried.
    assert [a.shown for a in found] == [True, True, True, False]
