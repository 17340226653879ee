"""adv-lib gets what its functions want; its points are put back into box and budget."""

from __future__ import annotations

import math
import sys
import types
from typing import Any

import pytest
import torch

from robbench.catalogue.builtins import ATTACKS
from robbench.core.errors import UserError
from robbench.threat.problem import size_and_fits

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def fake_adv_lib(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A package with one attack, which returns the points in `returns` and notes its calls."""
    fake = types.ModuleType("adv_lib.attacks")
    fake.calls, fake.returns = [], None  # type: ignore[attr-defined]

    def fmn(
        model,
        inputs,
        labels,
        norm,
        targeted=False,
        steps=10,
        γ_init=0.05,
        levels: int | None = 256,
    ):  # type: ignore[no-untyped-def]
        fake.calls.append(
            {"norm": norm, "targeted": targeted, "steps": steps, "gamma": γ_init, "levels": levels}
        )  # type: ignore[attr-defined]
        return inputs if fake.returns is None else fake.returns  # type: ignore[attr-defined]

    fake.fmn = fmn  # type: ignore[attr-defined]
    for name, module in (("adv_lib", types.ModuleType("adv_lib")), ("adv_lib.attacks", fake)):
        monkeypatch.setitem(sys.modules, name, module)
    return fake


def test_adv_lib_gets_the_norm_as_a_number_and_options_in_either_alphabet(
    fake_adv_lib: Any, linear: Any
) -> None:
    model, p, _ = linear("linf", math.inf)
    for gamma in ("\N{GREEK SMALL LETTER GAMMA}_init", "gamma_init"):
        ATTACKS.build(f"adv-lib:fmn,options=({gamma}=1/4,levels=none)").run(model, p, seed=0)
    assert (
        fake_adv_lib.calls
        == [{"norm": math.inf, "targeted": False, "steps": 10, "gamma": 0.25, "levels": None}] * 2
    )
    with pytest.raises(UserError, match="norm is not an option here"):
        ATTACKS.build("adv-lib:fmn,options=(norm=2)")


@pytest.mark.parametrize("norm", ["linf", "l2", "l1", "l0"])
def test_points_outside_box_or_budget_or_not_finite_are_put_back(
    norm: str, fake_adv_lib: Any, linear: Any
) -> None:
    """And a point that fits is returned as it is."""
    model, p, _ = linear(norm, {"l0": 3.0}.get(norm, 0.2))
    x = p.x0 + 5 * torch.randn_like(p.x0)
    x[0] = torch.nan
    x[1] = p.x0[1]
    x[1, 0, 0, 0] += 0.1
    fake_adv_lib.returns = x
    found = ATTACKS.build("adv-lib:fmn").run(model, p, seed=0)
    assert size_and_fits(found, p)[1].all()
    assert torch.equal(found[0], p.x0[0])
    assert torch.equal(found[1], x[1])
    assert (p.norm.size(found - p.x0)[2:] > 0.99 * p.eps[2:]).all()
