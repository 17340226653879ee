"""The concrete training step: joins a loss, which asks, with the model and the engine, which answer."""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch
from torch import Tensor

from robbench.attacks.base import AnyRowAttack
from robbench.engine.guard import frozen
from robbench.engine.lockstep import Adversarial, lockstep
from robbench.models.base import Classifier, Output
from robbench.objectives import ANCHORED
from robbench.threat.model import ThreatModel
from robbench.threat.problem import Problem


@dataclasses.dataclass(frozen=True)
class Inner:
    """The inner maximisation of a recipe: attack, threat model and the model's mode meanwhile.

    Codes differ in the mode (TRADES and MART attack in eval mode, Rice et al. in train mode), so it is part of the recipe.
    """

    attack: AnyRowAttack
    threat: ThreatModel
    mode: Literal["eval", "train"] = "eval"
    warmup: float = 0.0  # share of training over which eps grows from 0: full strength at once can stall (MNIST at 0.3)

    def eps(self, progress: float) -> float:
        """The budget at this point of training."""
        return self.threat.eps * (min(1.0, progress / self.warmup) if self.warmup else 1.0)


class TrainStep:
    """One batch in training: lazy outputs and adversaries, each made once. Counts rows through the model."""

    def __init__(self, model: Classifier, x: Tensor, y: Tensor, index: Tensor, *, key: Tensor, inner: Inner | None, epoch: int,
                 progress: float) -> None:  # fmt: skip
        self.model, self.x, self.y, self.index, self.key, self.inner = model, x, y, index, key, inner
        self.epoch, self.progress = epoch, progress
        self.forwards = self.backwards = 0
        self._clean: Output | None = None
        self._adversaries: dict[str | None, Adversarial] = {}
        self._outputs: dict[int, tuple[Tensor, Output]] = {}

    @property
    def clean(self) -> Output:
        """Output at x."""
        if self._clean is None:
            self._clean = self._forward(self.x)
        return self._clean

    @property
    def out(self) -> Output:
        """Output at the inner attack's points, or at x when there is none."""
        return self.clean if self.inner is None else self.at(self.adversary().x)

    def at(self, x: Tensor) -> Output:
        """Output at any points; asking again for the same tensor costs nothing."""
        if x is self.x:
            return self.clean
        known = self._outputs.get(id(x))
        if known is None or known[0] is not x:
            known = self._outputs[id(x)] = (x, self._forward(x))
        return known[1]

    def adversary(self, objective: str | None = None) -> Adversarial:
        """The inner attack from x; weights frozen, mode as the recipe says, all put back."""
        assert self.inner is not None, "the trainer gives every loss that attacks an inner attack"
        if objective not in self._adversaries:
            attack = self.inner.attack
            if objective is not None:
                attack = dataclasses.replace(attack, objective=objective)  # type: ignore[type-var]
            with frozen(self.model, training=self.inner.mode == "train"):
                anchored = getattr(attack, "objective", None) in ANCHORED
                problem = self._problem(anchored, self.inner)
                self._adversaries[objective] = lockstep(attack, self.model, problem)
            rows = len(self.x) * attack.steps
            self.forwards += rows + len(self.x) * anchored
            self.backwards += rows
        return self._adversaries[objective]

    def _problem(self, anchored: bool, inner: Inner) -> Problem:
        with torch.no_grad():
            logits0 = self.model(self.x) if anchored else self.x.new_zeros(len(self.x), self.model.classes)
        eps = self.x.new_full((len(self.x),), inner.eps(self.progress))
        return Problem(x0=self.x, y=self.y, target=torch.full_like(self.y, -1), eps=eps, key=self.key, index=self.index,
                       logits0=logits0, norm=inner.threat.geometry)  # fmt: skip

    def _forward(self, x: Tensor) -> Output:
        self.forwards += len(x)
        self.backwards += len(x)  # every output is part of the loss
        return self.model.output(x)
