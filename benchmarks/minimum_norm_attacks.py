"""The attacks of `minimum_norm.py`, each with settings for 1,000 forwards + 1,000 backwards."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import math
from typing import Any

from torch import Tensor, nn

from robbench.attacks.base import Backend
from robbench.catalogue.builtins import ATTACKS
from robbench.threat.norms import find_norm
from robbench.threat.problem import Problem

ORDERS = {"linf": math.inf, "l2": 2, "l1": 1, "l0": 0}
LARGEST = {"linf": 0.5, "l2": 10.0, "l1": 200.0}  # where the search of adv-lib's APGD begins

OURS = {
    "l0": [
        "sigma-zero:steps=331,polish=120,targets=3",
        "sigma-zero:steps=998",
        "fmn:steps=998",
        "pdpgd:steps=998",
    ],
    "l1": [
        "pdpgd:steps=998,polish=10",
        "fmn:steps=998",
        "fab-t:iterations=55",
        "minimal:attack=(apgd-ce:steps=82)",
        "minimal:attack=(apgd-t:steps=27,targets=3)",
        "minimal:rounds=10,attack=(apgd-t:steps=25,targets=5)",
    ],
    "l2": [
        "ddn:steps=998",
        "ddn:steps=998,polish=10",
        "fmn:steps=998",
        "cw:search_steps=9,iterations=110",
        "superdeepfool:steps=99",
        "fab-t:iterations=55",
        "minimal:attack=(apgd-ce:steps=82)",
        "minimal:attack=(apgd-t:steps=27,targets=3)",
        "minimal:rounds=10,attack=(apgd-t:steps=25,targets=5)",
    ],
    "linf": [
        "fmn:steps=998",
        "pdpgd:steps=998,polish=10",
        "fab-t:iterations=55",
        "minimal:attack=(apgd-ce:steps=82)",
        "minimal:attack=(apgd-t:steps=27,targets=3)",
        "minimal:rounds=10,attack=(apgd-t:steps=25,targets=5)",
    ],
}


@dataclasses.dataclass(frozen=True)
class Peer:
    """One attack of another package, with its options."""

    package: str
    attack: str
    options: dict[str, Any]
    norm: str = ""  # the parameter that names the norm, if any
    module: str = "adv_lib.attacks"

    @property
    def name(self) -> str:
        chosen = ",".join(f"{name}={value}" for name, value in self.options.items())
        return f"{self.attack}:{chosen}".rstrip(":")

    def run(self, model: nn.Module, x: Tensor, y: Tensor, norm: str) -> Tensor:
        """Its points [B,*]."""
        if self.package == "foolbox":
            text = ",".join(f"{name}={value}" for name, value in self.options.items())
            spec = f"foolbox:{self.attack}" + (f",options=({text})" if text else "")
            backend = ATTACKS.build(spec)
            if not isinstance(backend, Backend):
                raise TypeError(spec)
            return backend.run(model, Problem.of(x, y, math.inf, find_norm(norm)), seed=0)
        function = getattr(importlib.import_module(self.module), self.attack)
        named = {self.norm: norm if self.attack == "alma" else ORDERS[norm]} if self.norm else {}
        found: Tensor = function(model, x, y, **self.options, **named)
        return found


adv = functools.partial(Peer, "adv_lib")
fool = functools.partial(Peer, "foolbox")


def _apgd(norm: str) -> list[Peer]:
    """adv-lib's search for the smallest budget of APGD: 10 halvings, each of 100 queries."""
    found = functools.partial(adv, "minimal_apgd", norm="norm", module="adv_lib.attacks.auto_pgd")
    common = {"max_eps": LARGEST[norm], "binary_search_steps": 10, "use_large_reps": norm == "l1"}
    targeted = {"targeted_version": True, "n_iter": 31, "num_targets": 3}
    return [
        found(common | {"n_iter": 97, "loss_function": "ce"}),
        found(common | {"n_iter": 97, "loss_function": "dlr"}),
        found(common | targeted),
    ]


PEERS = {
    "l0": [
        adv("sigma_zero", {"num_steps": 999}),
        adv("fmn", {"steps": 999}, "norm"),
        adv("pdpgd", {"num_steps": 999, "proximal_operator": 23}, "norm"),
        adv("vfga", {"targeted": False, "max_iter": 90}),
        fool("L0FMNAttack", {"steps": 999}),
    ],
    "l1": [
        adv("pdpgd", {"num_steps": 999}, "norm"),
        adv("fmn", {"steps": 999}, "norm"),
        adv("alma", {"num_steps": 999}, "distance"),
        adv("fab", {"n_iter": 98}, "norm"),
        *_apgd("l1"),
        fool("L1FMNAttack", {"steps": 999}),
        fool("EADAttack", {"binary_search_steps": 9, "steps": 111}),
    ],
    "l2": [
        adv("ddn", {"steps": 999, "levels": None}),
        adv("fmn", {"steps": 999}, "norm"),
        adv("pdgd", {"num_steps": 999}),
        adv("alma", {"num_steps": 999}, "distance"),
        adv("sdf", {}),
        adv("tr", {"iter": 499}, "p"),
        adv("carlini_wagner_l2", {"binary_search_steps": 9, "max_iterations": 110}),
        adv("fab", {"n_iter": 98}, "norm"),
        *_apgd("l2"),
        fool("DDNAttack", {"steps": 999}),
        fool("L2FMNAttack", {"steps": 999}),
        fool("L2CarliniWagnerAttack", {"binary_search_steps": 9, "steps": 110}),
    ],
    "linf": [
        adv("pdpgd", {"num_steps": 999}, "norm"),
        adv("fmn", {"steps": 999}, "norm"),
        adv("tr", {"iter": 499}, "p"),
        adv("fab", {"n_iter": 98}, "norm"),
        *_apgd("linf"),
        fool("LInfFMNAttack", {"steps": 999}),
        fool("LinfDeepFoolAttack", {"steps": 99}),
    ],
}
