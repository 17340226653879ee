"""The concrete training step: joins a loss, which asks, with the model and the engine, which answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from robbench.attacks.base import AnyRowAttack
from robbench.core.freeze import frozen
from robbench.engine.lockstep import Adversarial, lockstep
from robbench.models.base import Classifier, Output
from robbench.objectives import ANCHORED
from robbench.threat.model import ThreatModel
from robbench.threat.problem import Problem
from robbench.training.distributed import World
from robbench.training.forward import Forward

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Inner:
    """The inner maximisation of a recipe: attack, threat model and the model's mode meanwhile.

    Codes differ in the mode (TRADES and MART attack in eval mode, Rice et al. in train mode), so it
    is part of the recipe.
    """

    attack: AnyRowAttack
    threat: ThreatModel
    mode: Literal["eval", "train"] = "eval"
    warmup: float = 0.0  # share of training over which eps grows from 0: full strength at once can stall (MNIST at 0.3)
    beyond: int | None = (
        None  # steps a row goes on after its first mistake; None = all (Zhang et al. 2020, arXiv:2002.11242)
    )

    def eps(self, progress: float) -> float:
        """The budget at this point of training."""
        return self.threat.eps * (min(1.0, progress / self.warmup) if self.warmup else 1.0)


class Notes:
    """What losses keep beside the model: per-sample memories that outlive the epoch, and means of the epoch's log."""

    def __init__(self, samples: int, device: torch.device) -> None:
        self.samples, self.device = samples, device
        self.memories: dict[str, Tensor] = {}  # [N], NaN where nothing has been remembered yet
        self.fresh: dict[
            str, Tensor
        ] = {}  # [N] 1 where something was remembered in this epoch, by this process
        self.logged: dict[str, tuple[Tensor, int]] = {}

    def memory(self, name: str, initial: float) -> Tensor:
        """[N] of all training samples."""
        values = self._values(name)
        return torch.where(values.isnan(), initial, values)

    def remember(self, name: str, index: Tensor, values: Tensor) -> None:
        """Keep values for the samples at index."""
        self._values(name)[index] = values.detach().float()
        self._fresh(name)[index] = 1.0

    def log(self, name: str, values: Tensor) -> None:
        """Add to an epoch's mean; on the device, so that nothing waits."""
        total, count = self.logged.get(name, (torch.zeros((), device=self.device), 0))
        self.logged[name] = (total + values.detach().float().sum(), count + values.numel())

    def take_means(self) -> dict[str, float]:
        """The means since the last call."""
        means = {name: float(total) / max(count, 1) for name, (total, count) in self.logged.items()}
        self.logged.clear()
        return means

    def share(self, world: World) -> None:
        """Let all processes know what each has remembered and logged in an epoch; some may not even know the names."""
        if world.size == 1:
            return
        for name in world.names(self.memories):
            values, fresh = self._values(name), self._fresh(name)
            found, anyone = world.add([torch.where(fresh > 0, values, 0.0), fresh])
            values.copy_(torch.where(anyone > 0, found, values))
        nothing = (torch.zeros((), device=self.device), 0)
        for name in world.names(self.logged):
            total, count = self.logged.get(name, nothing)
            total, counts = world.add([total, total.new_tensor(float(count))])
            self.logged[name] = (total, int(counts))
        self.fresh.clear()

    def copy(self) -> Notes:
        """The same memories, apart: for a look at a loss that must leave no trace."""
        other = Notes(self.samples, self.device)
        other.memories = {name: values.clone() for name, values in self.memories.items()}
        return other

    def _values(self, name: str) -> Tensor:
        if name not in self.memories:
            self.memories[name] = torch.full((self.samples,), torch.nan, device=self.device)
        return self.memories[name]

    def _fresh(self, name: str) -> Tensor:
        if name not in self.fresh:
            self.fresh[name] = torch.zeros(self.samples, device=self.device)
        return self.fresh[name]


class TrainStep:
    """One batch in training: lazy outputs and adversaries, each made once. Counts rows through the model."""

    def __init__(self, model: Classifier, x: Tensor, y: Tensor, index: Tensor, *, key: Tensor, inner: Inner | None, epoch: int,
                 progress: float, notes: Notes | None = None, forward: Forward | None = None) -> None:  # fmt: skip
        self.model, self.x, self.y, self.index, self.key, self.inner = (
            model,
            x,
            y,
            index,
            key,
            inner,
        )
        self.epoch, self.progress = epoch, progress
        self.notes = notes or Notes(int(index.max()) + 1 if len(index) else 0, x.device)
        self.forward = forward or Forward(model)
        self.forwards = self.backwards = 0
        self._adversaries: dict[str | None, Adversarial] = {}
        self._anchored: dict[str | None, Adversarial] = {}  # those that the labels have no part in
        self._once: dict[str, Any] = {}
        self._outputs: dict[int, tuple[Tensor, Output]] = {}
        self._memories: dict[str, Tensor] = {}

    @property
    def clean(self) -> Output:
        """Output at x."""
        return self.at(self.x)

    @property
    def out(self) -> Output:
        """Output at the inner attack's points, or at x when there is none."""
        return self.clean if self.inner is None else self.at(self.adversary().x)

    @property
    def head(self) -> nn.Module:
        """The model's last layer."""
        return self.model.head

    @property
    def eps(self) -> float:
        """The inner attack's budget now, 0 without one."""
        return self.inner.eps(self.progress) if self.inner else 0.0

    def at(self, x: Tensor) -> Output:
        """Output at any points; asking again for the same tensor costs nothing."""
        known = self._outputs.get(id(x))
        if known is None or known[0] is not x:
            known = self._outputs[id(x)] = (x, self._forward(x))
        return known[1]

    def peek(self, x: Tensor) -> Tensor:
        """Logits at any points without gradient, in the mode of the inner attack."""
        self.forwards += len(x)
        with frozen(self.model, training=self._training, thorough=False), torch.no_grad():
            return self.forward(x)

    def adversary(self, objective: str | None = None, eps: Tensor | None = None) -> Adversarial:
        """The inner attack from x; weights frozen, mode as the recipe says, all put back."""
        assert self.inner is not None, "the trainer gives every loss that attacks an inner attack"
        attack = self.inner.attack
        if objective is not None:
            attack = dataclasses.replace(attack, objective=objective)  # type: ignore[type-var]
        anchored = getattr(attack, "objective", None) in ANCHORED
        known = self._anchored if anchored else self._adversaries
        if eps is not None or objective not in known:
            budget = (
                self.x.new_full((len(self.x),), self.eps) if eps is None else eps.to(self.x.dtype)
            )
            with frozen(self.model, training=self._training, thorough=False):
                found = lockstep(
                    attack,
                    self.forward,
                    self._problem(anchored, self.inner, budget),
                    self.inner.beyond,
                )
            rows = len(self.x) * attack.steps * attack.draws
            self.forwards += rows + len(self.x) * anchored
            self.backwards += rows * (attack.access == "white-box")
            if eps is not None:
                return found
            known[objective] = found
        return known[objective]

    def once(self, name: str, make: Callable[[], T]) -> T:
        """`make()` at the first call in this batch, the same again afterwards, also at perturbed weights."""
        if name not in self._once:
            self._once[name] = make()
        return self._once[name]  # type: ignore[no-any-return]

    def relabelled(self, y: Tensor) -> TrainStep:
        """The same batch with other labels (mixup): the same outputs and memories, adversaries of its own where labels matter."""
        other = self._like(y, self.notes)
        other._outputs, other._memories, other._anchored = (
            self._outputs,
            self._memories,
            self._anchored,
        )
        return other

    def again(self, notes: Notes, beside: TrainStep | None = None) -> TrainStep:
        """The same batch and adversaries at other weights (weight perturbation): outputs are new or of `beside`, notes apart."""
        other = self._like(self.y, notes)
        other._adversaries, other._anchored, other._once = (
            self._adversaries,
            self._anchored,
            self._once,
        )
        other._outputs = beside._outputs if beside else {}
        return other

    def memory(self, name: str, initial: float) -> Tensor:
        """What was remembered for these samples before this step, also after `remember`: a loss may be asked again."""
        if name not in self._memories:
            self._memories[name] = self.notes.memory(name, initial)[self.index]
        return self._memories[name]

    def remember(self, name: str, values: Tensor) -> None:
        """Keep values for these samples."""
        self.notes.remember(name, self.index, values)

    def log(self, **values: Tensor) -> None:
        """Note values for the epochs table."""
        for name, value in values.items():
            self.notes.log(name, value)

    def _like(self, y: Tensor, notes: Notes) -> TrainStep:
        return TrainStep(self.model, self.x, y, self.index, key=self.key, inner=self.inner, epoch=self.epoch,
                         progress=self.progress, notes=notes, forward=self.forward)  # fmt: skip

    @property
    def _training(self) -> bool:
        return self.inner is not None and self.inner.mode == "train"

    def _problem(self, anchored: bool, inner: Inner, eps: Tensor) -> Problem:
        with torch.no_grad():
            logits0 = (
                self.forward(self.x)
                if anchored
                else self.x.new_zeros(len(self.x), self.model.classes)
            )
        return Problem(x0=self.x, y=self.y, target=torch.full_like(self.y, -1), eps=eps, key=self.key, index=self.index,
                       logits0=logits0, norm=inner.threat.norm)  # fmt: skip

    def _forward(self, x: Tensor) -> Output:
        self.forwards += len(x)
        self.backwards += len(x)  # every output is part of the loss
        return self.forward.output(x)
