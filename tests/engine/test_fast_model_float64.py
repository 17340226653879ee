"""The search in float64: what float32 rounds to no gradient, and everything else as in float32."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robbench.catalogue.builtins import ATTACKS
from robbench.core.errors import UserError
from robbench.data.base import Split
from robbench.engine.fast_model import fast_model
from robbench.models.outputs.scales import as_logits

pytestmark = pytest.mark.usefixtures("one_thread")

OWN = [
    *("apgd", "fgsm", "mi-fgsm", "noise", "pgd", "pgd:objective=kl-from-clean,init=gaussian"),
    *("pma", "hopskipjump:steps=3"),
]
SLOW = ["apgd:objective=dlr-targeted,order=distance", "cw", "square", "tsta", "eot:attack=pgd"]


class Saturated(nn.Module):
    """Linear, with probabilities for answers: at log-odds above 90 float32 knows only 1 and 0."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 2, bias=False)
        weight = torch.tensor([[1.0, 1.0, 1.0, 1.0], [-1.0, -1.0, -1.0, -1.0]])
        self.linear.weight = nn.Parameter(gain * weight)

    def forward(self, x: Tensor) -> Tensor:
        return as_logits(self.linear(x.flatten(1) - 0.5).softmax(1), "probs")


@pytest.fixture
def bright(dark: Split) -> Split:
    """Ten images of 2 x 2 pixels of 0.7, class 0: the boundary is 0.2 away in linf."""
    return dataclasses.replace(dark, images=torch.full((10, 1, 2, 2), 0.7))


def _search(model: nn.Module, split: Split, precision: str) -> dict[str, Any]:
    found = fast_model(
        model, split.pixels(slice(0, 8)), precision=precision, compiled=False, tile=32
    )
    return {"fast": found.model, "recheck": found.recheck, "dtype": found.dtype}


def test_a_saturated_model_stands_still_in_float32_alone(
    bright: Split, run: Callable[..., Any]
) -> None:
    """Log-odds of 160: float32 gives zeros, float64 the slope; the float32 model confirms."""
    model = Saturated(100.0)
    attack = (["pgd:steps=10,init=clean"], model, bright, "linf:0.25")
    single = run(*attack, **_search(model, bright, "fp32"))
    assert not any(v.adversarial for v in single.verdicts)
    assert all(v.n_zero_gradient == 10 for v in single.verdicts)
    double = run(*attack, **_search(model, bright, "fp64"))
    assert all(v.adversarial and v.n_zero_gradient == 0 for v in double.verdicts)
    for v in double.verdicts:
        point = double.points[v.sample]
        assert point.dtype == torch.float32
        with torch.no_grad():
            assert int(model(point[None]).argmax()) == v.adv_pred == 1
        assert v.linf <= 0.25 * (1 + 1e-5) + 1e-7


def test_robust_in_float64_too(bright: Split, run: Callable[..., Any]) -> None:
    """Below the true distance of 0.2 nothing is found in any precision."""
    model = Saturated(100.0)
    for precision in ("fp32", "fp64"):
        search = _search(model, bright, precision)
        story = run(["pgd:steps=10,init=clean"], model, bright, "linf:0.19", **search)
        assert not any(v.adversarial for v in story.verdicts)


@pytest.mark.parametrize("threat", ["linf:0.1", "l2:0.5", "l1:2"])
def test_verdicts_are_equal_at_every_width(
    threat: str, digits: Any, run: Callable[..., Any]
) -> None:
    """Bit by bit, as in float32; nearly as many fall as there."""
    split = digits.split.take(torch.arange(50))
    search = _search(digits.model, split, "fp64")
    specs = ["pgd:steps=4,restarts=2", "apgd:steps=8"]
    wide, narrow = (
        run(specs, digits.model, split, threat, width=width, **search) for width in (64, 7)
    )
    assert wide.verdicts == narrow.verdicts
    assert all(torch.equal(x, narrow.points[i]) for i, x in wide.points.items())
    single = run(specs, digits.model, split, threat)
    counts = [sum(v.adversarial for v in story.verdicts) for story in (wide, single)]
    assert abs(counts[0] - counts[1]) <= 1
    assert counts[0] > 10


@pytest.mark.parametrize(
    "spec", [*OWN, *(pytest.param(spec, marks=pytest.mark.slow) for spec in SLOW)]
)
def test_every_attack_moves_in_float64(spec: str, digits: Any, run: Callable[..., Any]) -> None:
    """Each finds about what it finds in float32, and its claims hold."""
    split = digits.split.take(torch.arange(12))
    own = ATTACKS.build(spec)
    norm = "linf:0.1" if "linf" in own.norms else "l2:1"
    stories = [
        run([spec], digits.model, split, norm, **_search(digits.model, split, precision))
        for precision in ("fp32", "fp64")
    ]
    counts = [sum(v.adversarial for v in story.verdicts) for story in stories]
    assert abs(counts[0] - counts[1]) <= 1
    assert {x.dtype for x in stories[1].points.values()} <= {torch.float32}


def test_a_model_that_knows_no_float64(bright: Split) -> None:
    """A user's error that says what to do."""

    class Picky(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.layer(x.flatten(1).float())
            return logits

    with pytest.raises(UserError, match=r"float64 .*--precision fp32"):
        _search(Picky(), bright, "fp64")
