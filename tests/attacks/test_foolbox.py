"""Attacks of foolbox give what the package itself gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from robbench.attacks.foolbox import UNFIT
from robbench.catalogue.builtins import ATTACKS
from robbench.threat.norms import find_norm
from robbench.threat.problem import Problem

pytestmark = pytest.mark.usefixtures("one_thread")


def test_foolbox_gives_what_a_direct_call_gives(linear: Any) -> None:
    """Same seed, same options: bit-equal points."""
    foolbox = pytest.importorskip("foolbox")
    model, p, _ = linear("linf")
    ours = ATTACKS.build("foolbox:LinfPGD,options=(steps=3,rel_stepsize=1/10)").run(
        model, p, seed=7
    )
    torch.manual_seed(7)
    attack = foolbox.attacks.LinfPGD(steps=3, rel_stepsize=0.1)
    theirs, _, _ = attack(
        foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu"),
        p.x0,
        p.y,
        epsilons=float(p.eps[0]),
    )
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("prefix", ["Linf", "L2", "L1", "L0"])
def test_the_norm_is_the_one_in_its_name(prefix: str) -> None:
    """Attacks of foolbox are named by their norm; what has none works in all four."""
    foolbox = pytest.importorskip("foolbox")
    base = foolbox.attacks.base
    found = 0
    for name, cls in vars(foolbox.attacks).items():
        if name in UNFIT or not (
            isinstance(cls, type) and issubclass(cls, base.AttackWithDistance)
        ):
            continue
        # Those of Brendel and Bethge need a package of their own.
        if name.startswith(prefix) and "BrendelBethge" not in name:
            attack: Any = ATTACKS.build(f"foolbox:{name}")
            assert attack.norms == {prefix.lower()}, name
            assert attack.goal == (
                "minimum-norm" if issubclass(cls, base.MinimizationAttack) else "fixed-eps"
            ), name
            found += 1
    assert found > 0
    contrast: Any = ATTACKS.build("foolbox:InversionAttack")
    assert contrast.norms == {"linf", "l2", "l1", "l0"}


def test_a_target_is_foolbox_s_own_criterion() -> None:
    """Its points are those of a direct call; what refuses the criterion is refused before."""
    foolbox: Any = pytest.importorskip("foolbox")
    torch.manual_seed(0)
    model, x0 = torch.nn.Linear(6, 4).requires_grad_(False), torch.rand(8, 6)
    y = model(x0).argmax(1)
    p = Problem.of(x0, y, 0.4, find_norm("linf"), target=(y + 1) % 4)
    seen = foolbox.PyTorchModel(model.eval(), bounds=(0, 1), device="cpu")
    goal = foolbox.criteria.TargetedMisclassification(p.target)
    for name, attack in {
        "LinfPGD,options=(steps=5,rel_stepsize=1/10)": foolbox.attacks.LinfPGD(
            steps=5, rel_stepsize=0.1
        ),
        "LInfFMNAttack,options=(steps=5)": foolbox.attacks.LInfFMNAttack(steps=5),
    }.items():
        ours: Any = ATTACKS.build(f"foolbox:{name}")
        assert ours.can_target
        torch.manual_seed(7)
        eps = 0.4 if ours.goal == "fixed-eps" else None
        theirs, _, _ = attack(seen, x0, goal, epsilons=eps)
        inside = (theirs - x0).abs().amax(1) <= 0.4
        assert torch.equal(ours.run(model, p, seed=7)[inside], theirs[inside])
    # It asks each attack itself.
    refuses = set()
    for name in ("LinfFastGradientAttack", "LinfPGD", "DDNAttack"):
        try:
            made = getattr(foolbox.attacks, name)()
            made(seen, x0, goal, epsilons=None if name == "DDNAttack" else 0.1)
        except ValueError:
            refuses.add(name)
    assert {
        name
        for name in ("LinfFastGradientAttack", "LinfPGD", "DDNAttack")
        if not ATTACKS.build(f"foolbox:{name}").can_target
    } == refuses
