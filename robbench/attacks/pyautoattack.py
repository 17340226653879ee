"""The reference AutoAttack (Croce and Hein 2020, arXiv:2003.01690) as its authors' package runs it.

For comparison with our own attacks. Its random numbers are global, so a verdict may depend on the
batch.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import warnings
from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from robbench.attacks.base import MARGIN, Backend, cut_targets
from robbench.core.errors import UserError
from robbench.threat.problem import Problem

NORM_NAMES = {"linf": "Linf", "l2": "L2", "l1": "L1"}
STANDARD = ["apgd-ce", "apgd-t", "fab-t", "square"]
PLUS = ["apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"]
RAND = ["apgd-ce", "apgd-dlr"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PyAutoAttack(Backend):
    """The pyautoattack package, `standard`, `plus` or `rand`, or one of its attacks.

    Adapted to few classes: targets are cut to K-1; without the 3 (or 4, targeted) classes that its
    DLR needs, the DLR attacks are left out and APGD on cross-entropy gets 5 restarts instead. In l1
    its APGD starts with larger budgets and tries 5 targets, as in its standard version.
    """

    norms = frozenset(NORM_NAMES)

    version: Annotated[
        Literal[
            "standard", "plus", "rand", "apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t", "square"
        ],
        Field(description="which set of attacks, or a single one"),
    ] = "standard"

    @property
    def kinds(self) -> frozenset[str]:
        names = {*self.attacks(classes=1000)}
        found = {
            "square": "square" in names,
            MARGIN: bool(names - {"apgd-ce", "square"}),
            "apgd": any(name.startswith("apgd") for name in names),
        }
        return frozenset(kind for kind, so in found.items() if so)

    def adapted(self, classes: int) -> list[str]:
        names = self.attacks(classes)
        changes = [
            f"{name} is left out" for name in self.attacks(classes=1000) if name not in names
        ]
        return changes + cut_targets(9, classes) * any(n in ("apgd-t", "fab-t") for n in names)

    def attacks(self, classes: int) -> list[str]:
        """The package's attacks that can run on this many classes. UserError when none is left."""
        chosen = {"standard": STANDARD, "plus": PLUS, "rand": RAND}.get(
            self.version, [self.version]
        )
        able = [name for name in chosen if classes >= {"apgd-dlr": 3, "apgd-t": 4}.get(name, 2)]
        if not able:
            raise UserError(
                f"pyautoattack:version={self.version} needs more than {classes} classes; use apgd "
                "or another version"
            )
        return able

    def run(self, model: nn.Module, p: Problem, *, seed: int) -> Tensor:
        try:
            from pyautoattack import AutoAttack
        except ImportError:
            raise UserError(
                "the attack pyautoattack needs its package: pip install pyautoattack"
            ) from None
        classes = p.logits0.shape[1]
        able = self.attacks(classes)
        named = self.version in ("standard", "plus", "rand")
        with _left_alone():
            options = {"version": self.version} if named else {"version": "custom", "attacks": able}
            reference = AutoAttack(
                model,
                norm=NORM_NAMES[p.norm.name],
                eps=float(p.eps[0]),
                seed=seed,
                device=p.x0.device,
                **options,
            )
            reference.attacks_to_run = able
            l1 = p.norm.name == "l1"
            reference.apgd.use_largereps = reference.apgd_targeted.use_largereps = l1
            reference.apgd_targeted.n_target_classes = min(5 if l1 else 9, classes - 1)
            reference.fab.n_target_classes = min(9, classes - 1)
            if not named:
                reference.apgd.n_restarts = reference.fab.n_restarts = 1
            elif classes < 4:
                reference.apgd.n_restarts = 5
            points, _ = reference.run_standard_evaluation(p.x0, p.y, batch_size=len(p))
        return points  # type: ignore[no-any-return]


@contextlib.contextmanager
def _left_alone() -> Iterator[None]:
    """Put back the global random state, which the package reseeds; silence its log and warnings."""
    log = logging.getLogger("auto-attack")
    level, state = log.level, torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    try:
        log.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
        torch.set_rng_state(state)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)
