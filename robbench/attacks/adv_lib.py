"""Attacks of the adv-lib package, as it runs them.

Rony and Ben Ayed, github.com/jeromerony/adversarial-library.

Its functions name their parameters in Greek; the letters may be written out: `options=(gamma=0.1)`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple

from torch import Tensor, nn

from robbench.attacks.package import PackageAttack, load
from robbench.threat.problem import Problem

INSTALL = "git+https://github.com/jeromerony/adversarial-library"
ORDERS = {"linf": math.inf, "l2": 2, "l1": 1, "l0": 0}


class Known(NamedTuple):
    """What the package does not say of an attack."""

    norms: str
    norm: str = ""  # the parameter that names the norm
    eps: str = ""  # the parameter that takes the budget
    goal: Literal["fixed-eps", "minimum-norm"] = "minimum-norm"


KNOWN = {
    "alma": Known("l1 l2", norm="distance"),
    "apgd": Known("l1 l2 linf", norm="norm", eps="eps", goal="fixed-eps"),
    "apgd_targeted": Known("l1 l2 linf", norm="norm", eps="eps", goal="fixed-eps"),
    "carlini_wagner_l2": Known("l2"),
    "carlini_wagner_linf": Known("linf"),
    "ddn": Known("l2"),
    "df": Known("l2 linf", norm="norm"),
    "fab": Known("l1 l2 linf", norm="norm"),
    "fga": Known("l0"),
    "fmn": Known("l0 l1 l2 linf", norm="norm"),
    "pdgd": Known("l2"),
    "pdpgd": Known("l0 l1 l2 linf", norm="norm"),
    "pgd_linf": Known("linf", eps="epsilon", goal="fixed-eps"),
    "sdf": Known("l2"),
    "sigma_zero": Known("l0"),
    "tr": Known("l2 linf", norm="p"),
    "vfga": Known("l0"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdvLib(PackageAttack):
    """Any attack of adv-lib (Rony and Ben Ayed): `adv-lib:fmn,options=(steps=100)`.

    Most seek the smallest perturbation; their default options quantise or not as the package does
    (ddn: levels=256).
    """

    package: ClassVar[str] = "adv-lib"

    @property
    def norms(self) -> frozenset[str]:  # type: ignore[override]
        self._made("l2", 0.0)
        return frozenset(self._known.norms.split())

    @property
    def goal(self) -> Literal["fixed-eps", "minimum-norm"]:  # type: ignore[override]
        return self._known.goal

    @property
    def _known(self) -> Known:
        return self.find(KNOWN)

    def points(self, model: nn.Module, p: Problem, eps: float, seed: int) -> Tensor:
        function, arguments = self._made(p.norm.name, eps)
        return function(model, p.x0, p.y, **arguments)  # type: ignore[no-any-return]

    def _made(self, norm: str, eps: float) -> tuple[Callable[..., Any], dict[str, Any]]:
        known = self._known
        ours: dict[str, Any] = dict.fromkeys(("model", "inputs", "labels"))
        ours |= {
            "targeted": False,
            known.norm: norm if known.norm == "distance" else ORDERS[norm],
            known.eps: eps,
        }
        function = getattr(load("adv_lib.attacks", INSTALL), self.attack.lower())
        arguments = self.bind(function, ours)
        return function, {
            name: value
            for name, value in arguments.items()
            if name not in ("model", "inputs", "labels")
        }
