"""Attacks of torchattacks give what the package itself gives, and its tables of norms are right."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest
import torch

from robbench.attacks.torchattacks import NORM_NAMES, NORMS, SMALLEST, WORKS_IN
from robbench.catalogue.builtins import ATTACKS
from robbench.core.errors import RunError

pytestmark = pytest.mark.usefixtures("one_thread")


CLASSES = 5  # of the linear model


def test_torchattacks_gives_what_a_direct_call_gives(linear: Any) -> None:
    """Same seed, same options: bit-equal points; eps and norm come from the threat."""
    torchattacks = pytest.importorskip("torchattacks")
    model, p, _ = linear("l2")
    ours = ATTACKS.build("torchattacks:FAB,options=(steps=4,multi_targeted=true)").run(
        model, p, seed=7
    )
    attack = torchattacks.FAB(
        model,
        norm="L2",
        eps=float(p.eps[0]),
        steps=4,
        multi_targeted=True,
        n_classes=CLASSES,
        seed=7,
    )
    assert torch.equal(ours, attack(p.x0, p.y))
    assert not torch.equal(ours, p.x0)


def test_what_a_package_raises_is_one_line_with_the_attacks_name(linear: Any, problem: Any) -> None:
    """JSMA asks for class (y + 1) % 10, also of five."""
    pytest.importorskip("torchattacks")
    attack = ATTACKS.build("torchattacks:JSMA")
    model, p, _ = linear("linf", 0.1)
    p = problem(model, p.x0, torch.full_like(p.y, CLASSES - 1), p.eps, "l0")
    with pytest.raises(
        RunError, match="attack torchattacks:JSMA raised IndexError: index 5 is out of bounds"
    ) as caught:
        attack.run(model, p, seed=0)
    assert "\n" not in str(caught.value)
    assert all(weight.requires_grad for weight in model.parameters())


class Recorded:
    """A constructor of the package's kind, which notes how it was called and moves nothing."""

    calls: list[dict[str, Any]] = []

    def __init__(self, **given: Any) -> None:
        self.calls.append(given)

    def set_device(self, device: torch.device) -> None:
        self.calls[-1]["device"] = device

    def __call__(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x


class PGD(Recorded):
    def __init__(self, model: Any, eps: float = 0.03, alpha: float = 0.01, steps: int = 10) -> None:
        super().__init__(model=model, eps=eps, alpha=alpha, steps=steps)


class FAB(Recorded):
    def __init__(
        self,
        model: Any,
        norm: str = "Linf",
        eps: float = 0.03,
        seed: int = 0,
        verbose: bool = True,
        n_classes: int = 10,
    ) -> None:
        super().__init__(norm=norm, eps=eps, seed=seed, verbose=verbose, n_classes=n_classes)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[Recorded]:
    """A package of that name with two attacks."""
    module = types.ModuleType("torchattacks")
    module.PGD, module.FAB = PGD, FAB  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchattacks", module)
    Recorded.calls.clear()
    return Recorded


def test_each_attack_gets_what_it_takes(fake: type[Recorded], linear: Any) -> None:
    """Budget, norm, classes and seed where its signature has them; the user's options."""
    model, p, _ = linear("linf", 0.25)
    ATTACKS.build("torchattacks:pgd,options=(alpha=1/64,steps=3)").run(model, p, seed=5)
    assert fake.calls[-1] == {
        "model": model,
        "eps": 0.25,
        "alpha": 1 / 64,
        "steps": 3,
        "device": p.x0.device,
    }
    model, p, _ = linear("l2", 0.5)
    ATTACKS.build("torchattacks:FAB").run(model, p, seed=5)
    assert fake.calls[-1] == {
        "norm": "L2",
        "eps": 0.5,
        "seed": 5,
        "verbose": False,
        "n_classes": CLASSES,
        "device": p.x0.device,
    }


@pytest.mark.parametrize(
    ("spec", "norms", "goal"),
    [("PGD", {"linf"}, "fixed-eps"), ("fab", {"linf", "l2"}, "minimum-norm")],
)
def test_norms_and_goals_are_those_of_its_table(
    spec: str, norms: set[str], goal: str, fake: type[Recorded]
) -> None:
    attack: Any = ATTACKS.build(f"torchattacks:{spec}")
    assert (attack.norms, attack.goal) == (norms, goal)


def test_the_tables_fit_together() -> None:
    """No attack is in two rows, and what seeks the smallest is an attack."""
    names = " ".join(WORKS_IN.values()).split()
    assert len(names) == len(set(names))
    assert set(NORMS) >= SMALLEST
    assert set().union(*NORMS.values()) == NORM_NAMES.keys()
