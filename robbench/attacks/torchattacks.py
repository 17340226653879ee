"""Attacks of the torchattacks package (Kim 2020, arXiv:2010.01950), as it runs them.

The package itself does not say in which norm an attack works, nor whether it keeps to a budget: the
tables here do.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from robbench.attacks.package import PackageAttack, load
from robbench.threat.problem import Problem

WORKS_IN = {
    "linf": "BIM DIFGSM EOTPGD FFGSM FGSM Jitter MIFGSM NIFGSM PGD PGDRS PIFGSM PIFGSMPP RFGSM "
    "SINIFGSM SPSA TIFGSM TPGD UPGD"
    " VMIFGSM VNIFGSM",
    "l2": "CW DeepFool PGDL2 PGDRSL2",
    "l1": "EADEN EADL1",
    "l0": "JSMA OnePixel Pixle SparseFool",
    "linf l2": "APGD APGDT AutoAttack FAB Square",
}
NORMS = {
    name: frozenset(norms.split()) for norms, names in WORKS_IN.items() for name in names.split()
}
NORM_NAMES = {"linf": "Linf", "l2": "L2", "l1": "L1", "l0": "L0"}
SMALLEST = {"CW", "DeepFool", "EADEN", "EADL1", "FAB", "JSMA", "OnePixel", "Pixle", "SparseFool"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TorchAttacks(PackageAttack):
    """Any attack of torchattacks (Kim 2020, arXiv:2010.01950): `torchattacks:PGD`.

    eps, norm and number of classes are set from threat model and data; step sizes keep the
    package's absolute units.
    """

    package: ClassVar[str] = "torchattacks"

    @property
    def norms(self) -> frozenset[str]:  # type: ignore[override]
        return NORMS[self._made(None, 0.0, "linf", 2, 0)[0]]

    @property
    def goal(self) -> Literal["fixed-eps", "minimum-norm"]:  # type: ignore[override]
        return "minimum-norm" if self._made(None, 0.0, "linf", 2, 0)[0] in SMALLEST else "fixed-eps"

    def points(self, model: nn.Module, p: Problem, eps: float, seed: int) -> Tensor:
        name, arguments = self._made(model, eps, p.norm.name, p.logits0.shape[1], seed)
        made = getattr(load("torchattacks", "torchattacks"), name)(**arguments)
        made.set_device(p.x0.device)
        return made(p.x0, p.y)  # type: ignore[no-any-return]

    def _made(
        self, model: nn.Module | None, eps: float, norm: str, classes: int, seed: int
    ) -> tuple[str, dict[str, Any]]:
        """The attack's name as the package writes it, and its arguments."""
        package = load("torchattacks", "torchattacks")
        name = self.find({name: name for name in NORMS if hasattr(package, name)})
        ours = {
            "model": model,
            "eps": eps,
            "max_epsilon": eps,
            "norm": NORM_NAMES[norm],
            "n_classes": classes,
            "seed": seed,
        }
        return name, self.bind(getattr(package, name), {**ours, "verbose": False})
