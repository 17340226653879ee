"""Every attack with options that make it short, in every norm that it works in."""

from __future__ import annotations

import math
from typing import Any

from robbench.attacks.base import Attack
from robbench.catalogue.builtins import ATTACKS
from robbench.testing.toys import toy_model

SHORT = {
    "fgsm": "",
    "fgsm-rs": "",
    "n-fgsm": "",
    "noise": "",
    "pgd": "steps=4,restarts=2",
    "apgd": "steps=8,restarts=2",
    "apgd-t": "steps=4,targets=2",
    "a3": "rounds=3",
    "square": "steps=20,restarts=2",
    "eot": "attack=(pgd:steps=3),draws=2",
    "minimal": "attack=(apgd:steps=3),rounds=3",
    "hopskipjump": "steps=60,trials=3,evals=4",
    "fab": "iterations=4,restarts=2",
    "fab-t": "iterations=3,targets=2,restarts=2",
    "cw": "iterations=4,search_steps=2",
    "tsta": "iterations=3,probe=2,targets=2",
    "superdeepfool": "steps=20",
    "transfer": "source=mlp,attack=(apgd:steps=4)",
}
BACKENDS = [
    "foolbox:LinfPGD",
    "torchattacks:PGD",
    "adv-lib:fmn",
    "pyautoattack:version=apgd-ce",
]


def short_specs() -> list[tuple[str, str]]:
    """Spec and norm of each of ours."""
    found = []
    for name in sorted(ATTACKS.entries.keys() - {spec.partition(":")[0] for spec in BACKENDS}):
        options = SHORT.get(name, "steps=5")
        spec = f"{name}:{options}" if options else name
        found += [(spec, norm) for norm in sorted(ATTACKS.build(spec).norms)]
    return found


def equipped(spec: str) -> Attack[Any]:
    """One of them, with another toy model to transfer from."""
    attack = ATTACKS.build(spec)
    assert isinstance(attack, Attack)
    return attack.equip(lambda name: toy_model(seed=1))


def budgets(attack: Attack[Any], eps: float) -> list[float]:
    """eps, and none where the attack seeks the smallest perturbation."""
    return [eps, math.inf] if attack.goal == "minimum-norm" else [eps]
