"""One answer that is no number says nothing, and leaves the attack's own numbers as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robbench.testing.toys import toy_model, toy_split

from .short_specs import budgets, equipped, short_specs

pytestmark = pytest.mark.usefixtures("one_thread")
EPS = {"linf": 0.05, "l2": 0.3, "l1": 1.0, "l0": 2, "l0px": 2}


class Holes(nn.Module):
    """A model whose answer is no number at a fifth of the points; the clean ones it answers."""

    def __init__(self) -> None:
        super().__init__()
        self.model = toy_model()
        self.clean: set[float] = set()
        self.holes = 0
        self.shown = True  # nothing but numbers
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        self.shown &= bool(x.isfinite().all())
        logits: Tensor = self.model(x)
        sums = x.detach().double().flatten(1).sum(1)
        hole = torch.tensor(
            [s not in self.clean and s == s and int(s * 1e6) % 5 == 0 for s in sums.tolist()]
        )
        self.holes += int(hole.sum())
        return torch.where(hole[:, None], torch.full_like(logits, torch.nan), logits)


@pytest.mark.parametrize(("spec", "norm"), short_specs())
def test_a_model_is_asked_about_numbers_alone(
    spec: str, norm: str, problem: Callable[..., Any], conquer: Callable[..., Any]
) -> None:
    """Also where an attack takes lengths from what the model answers."""
    attack = equipped(spec)
    for eps in budgets(attack, EPS[norm]):
        model = Holes()
        x0 = toy_split(40).pixels(slice(None))
        model.clean = set(x0.double().flatten(1).sum(1).tolist())
        y = model(x0).argmax(1)
        conquer(attack, model, problem(model, x0, y, torch.full((40,), float(eps)), norm))
        assert model.shown
    assert model.holes or attack.access == "none"
