"""Attacks of the foolbox package (Rauber, Brendel and Bethge 2017, arXiv:1707.04131).

Deviations from the package, on purpose: an attack for the smallest perturbation runs to its end
under a budget too; points outside box or budget are put back by our own projection (foolbox has
none in L0); the model stays on the inputs' device, where foolbox would move it to the first GPU.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from robbench.attacks.package import PackageAttack, load
from robbench.core.errors import UserError
from robbench.threat.problem import Problem

NORM_NAMES = {math.inf: "linf", 2: "l2", 1: "l1", 0: "l0"}
# They need target classes, images to choose from, or points to start from.
UNFIT = {"GenAttack", "DatasetAttack", "PointwiseAttack", "BinarizationRefinementAttack"}


# By class, of the attacks that take foolbox's targeted criterion; single steps refuse it.
CAN_TARGET = (
    "BaseGradientDescent",
    "FMNAttackLp",
    "L2CarliniWagnerAttack",
    "DDNAttack",
    "EADAttack",
)
SINGLE_STEP = ("L1FastGradientAttack", "L2FastGradientAttack", "LinfFastGradientAttack")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Foolbox(PackageAttack):
    """Any attack of foolbox (Rauber et al. 2017, arXiv:1707.04131): `foolbox:LinfPGD`.

    Without a budget (eps = inf) its minimum-norm attacks run, such as L2DeepFoolAttack.
    """

    package: ClassVar[str] = "foolbox"

    @property
    def norms(self) -> frozenset[str]:  # type: ignore[override]
        made = self._make("l2")
        flexible = isinstance(made, self._base.FlexibleDistanceMinimizationAttack)
        return frozenset(NORM_NAMES.values() if flexible else [NORM_NAMES[made.distance.p]])

    @property
    def goal(self) -> Literal["fixed-eps", "minimum-norm"]:  # type: ignore[override]
        return (
            "minimum-norm"
            if isinstance(self._make("l2"), self._base.MinimizationAttack)
            else "fixed-eps"
        )

    @property
    def can_target(self) -> bool:
        names = {cls.__name__ for cls in type(self._make("l2")).__mro__}
        return not names.isdisjoint(CAN_TARGET) and names.isdisjoint(SINGLE_STEP)

    def points(self, model: nn.Module, p: Problem, eps: float, seed: int) -> Tensor:
        package = load("foolbox", "foolbox")
        seen = package.PyTorchModel(model, bounds=(0, 1), device=p.x0.device)
        goal = package.criteria.TargetedMisclassification(p.target) if p.targeted else p.y
        found, _, _ = self._make(p.norm.name)(
            seen, p.x0, goal, epsilons=eps if self.goal == "fixed-eps" else None
        )
        return found  # type: ignore[no-any-return]

    @property
    def _base(self) -> Any:
        return load("foolbox.attacks.base", "foolbox")

    def _make(self, norm: str) -> Any:
        package = load("foolbox", "foolbox")
        known = {
            name: found
            for name, found in vars(package.attacks).items()
            if inspect.isclass(found)
            and issubclass(found, self._base.AttackWithDistance)
            and name not in UNFIT
        }
        cls = self.find(known)
        options = self.bind(cls, {"distance": getattr(package.distances, norm)})
        try:
            return cls(**options)
        except (
            Exception
        ) as error:  # a value it does not know, or a package of its own that is missing
            raise UserError(
                f"{self.what} cannot be made ({type(error).__name__}: {error})"
            ) from error
