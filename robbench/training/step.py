"""The training step that losses see: outputs of the model and adversaries of the engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from robbench.attacks.fab import FAB
from robbench.core.errors import UserError
from robbench.core.freeze import frozen
from robbench.core.gradients import column_gradients
from robbench.core.spec import option_names
from robbench.engine.lockstep import Adversarial, lockstep
from robbench.models.base import Classifier, Output
from robbench.objectives import ANCHORED, UNTARGETED, RowObjective
from robbench.threat.problem import Problem
from robbench.training.boundary import Boundary, to_boundary
from robbench.training.forward import Forward
from robbench.training.inner import Inner, require_inside
from robbench.training.notes import Notes

T = TypeVar("T")


class NoInnerAttackError(UserError):
    """A loss asked for an adversary, and neither it nor the recipe names an inner attack."""


class NoTeacherError(UserError):
    """A loss asked for a teacher, and does not say that it needs one."""


class TrainStep:
    """One batch in training: outputs and adversaries made once, on demand. Counts passes by row."""

    def __init__(
        self,
        model: Classifier,
        x: Tensor,
        y: Tensor,
        index: Tensor,
        *,
        key: Tensor,
        inner: Inner | None,
        epoch: int,
        progress: float,
        notes: Notes | None = None,
        forward: Forward | None = None,
        teacher: Forward | None = None,
    ) -> None:
        self.model = model
        self.x = x
        self.y = y
        self.index = index
        self.key = key
        self.inner = inner
        self.epoch = epoch
        self.progress = progress
        self.notes = notes or Notes(int(index.max()) + 1 if len(index) else 0, x.device)
        self.forward = forward or Forward(model)
        self.teacher_forward = teacher
        self.n_forward = 0
        self.n_backward = 0
        self._adversaries: dict[str | RowObjective | None, Adversarial] = {}
        self._shared: dict[str | RowObjective | None, Adversarial] = {}  # whatever the labels
        self._once: dict[str, Any] = {}
        self._outputs: dict[int, tuple[Tensor, Output]] = {}
        self._taught: dict[int, tuple[Tensor, Tensor]] = {}
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
        self.n_forward += len(x)
        with frozen(self.model, training=self._training, thorough=False), torch.no_grad():
            return self.forward(x)

    def teacher(self, x: Tensor) -> Tensor:
        """The teacher's logits at any points; asking again for the same tensor costs nothing."""
        if self.teacher_forward is None:
            raise NoTeacherError(
                "this loss calls step.teacher() and there is no teacher: let its property teacher "
                'return "average", or "" for a trained model that --teacher names'
            )
        known = self._taught.get(id(x))
        if known is None or known[0] is not x:
            self.n_forward += len(x)
            with frozen(self.teacher_forward.model, thorough=False), torch.no_grad():
                known = self._taught[id(x)] = (x, self.teacher_forward(x))
        return known[1]

    def adversary(
        self,
        objective: str | RowObjective | None = None,
        eps: Tensor | None = None,
        head: Callable[[Tensor], Tensor] | None = None,
    ) -> Adversarial:
        """The inner attack from x; weights frozen, mode as the recipe says, all put back."""
        if self.inner is None:
            raise NoInnerAttackError(
                "this loss calls step.adversary() and there is no inner attack: give --inner, or "
                'the class `inner: ClassVar[str | None] = "pgd:steps=10"`'
            )
        attack = self.inner.attack
        if objective is not None and "objective" not in option_names(type(attack)):
            raise UserError(
                f"this loss says what the inner attack climbs, and {type(attack).__name__} has no "
                "option objective: give another --inner, such as pgd or apgd"
            )
        own = objective if isinstance(objective, RowObjective) else None
        if isinstance(objective, str):
            attack = dataclasses.replace(attack, objective=objective)  # type: ignore[type-var]
        reads = attack.anchored and (own is None or attack.objective not in ANCHORED)
        # With `beyond` the labels decide where a row stops.
        shared = own is None and attack.objective in UNTARGETED and self.inner.beyond is None
        known = self._shared if shared else self._adversaries
        apart = eps is not None or head is not None
        if apart or objective not in known:
            budget = (
                self.x.new_full((len(self.x),), self.eps) if eps is None else eps.to(self.x.dtype)
            )
            with frozen(self.model, training=self._training, thorough=False):
                p = self._problem(reads, self.inner, budget)
                found = lockstep(
                    attack,
                    self.forward
                    if head is None
                    else lambda x: head(self.forward.output(x).features),
                    p,
                    self.inner.beyond,
                    own,
                )
            if self.epoch not in self.notes.inspected:  # not in each batch: a GPU must be awaited
                require_inside(attack, found.x, p)
                self.notes.inspected.add(self.epoch)
            rows = len(self.x) * attack.steps * attack.draws
            self.n_forward += rows + len(self.x) * reads
            self.n_backward += rows * (attack.access == "white-box")
            if apart:
                return found
            known[objective] = found
        return known[objective]

    def boundary(self, margins: Callable[[Tensor, Tensor], Tensor]) -> Boundary:
        """Where FAB's moves take x: the nearest point found with negative `margins`."""
        if self.inner is None or not isinstance(self.inner.attack, FAB):
            raise NoInnerAttackError(
                "this loss calls step.boundary() and the inner attack is not FAB: "
                "give --inner fab:iterations=20, or the class "
                '`inner: ClassVar[str | None] = "fab:iterations=20"`'
            )
        p = self._problem(False, self.inner, self.x.new_full((len(self.x),), torch.inf))

        def ask(x: Tensor) -> tuple[Tensor, Tensor]:
            leaf = x.detach().requires_grad_()
            self.n_forward += len(x)
            self.n_backward += len(x)
            with torch.enable_grad():
                value = margins(self.forward(leaf), self.y)
                return value.detach(), column_gradients(value[:, None], leaf)[:, 0]

        with frozen(self.model, training=self._training, thorough=False):
            return to_boundary(self.inner.attack, ask, p)

    def once(self, name: str, make: Callable[[], T]) -> T:
        """`make()` at the first call in this batch, its result at later ones, also in `again`."""
        if name not in self._once:
            self._once[name] = make()
        return self._once[name]  # type: ignore[no-any-return]

    def relabelled(self, y: Tensor) -> TrainStep:
        """The same batch with other labels y [B], for mixup.

        Shares outputs and memories; adversaries only where the labels have no part in them.
        """
        other = self._like(y, self.notes)
        other._outputs = self._outputs
        other._taught = self._taught
        other._memories = self._memories
        other._shared = self._shared
        return other

    def again(self, notes: Notes, beside: TrainStep | None = None) -> TrainStep:
        """The same batch and adversaries at other weights, for adversarial weight perturbation.

        Outputs are new, or those of `beside`.
        """
        other = self._like(self.y, notes)
        other._adversaries = self._adversaries
        other._shared = self._shared
        other._once = self._once
        other._taught = self._taught
        other._outputs = beside._outputs if beside else {}
        return other

    def memory(self, name: str, initial: float) -> Tensor:
        """[B] what was remembered before this step, also after `remember` in it."""
        if name not in self._memories:
            self._memories[name] = self.notes.memory(name, initial)[self.index]
        return self._memories[name]

    def remember(self, name: str, values: Tensor) -> None:
        """Keep values for these samples."""
        self.notes.remember(name, self.index, values)

    def class_means(self, name: str, values: Tensor, initial: float) -> Tensor:
        """[B,D]: the last epoch's means of the samples' classes; values [B,D] are for the next."""
        return self.notes.class_means(name, self.y, values, self.model.classes, initial)

    def log(self, **values: Tensor) -> None:
        """Note values [B] for the epochs table. Raises UserError for another shape."""
        for name, value in values.items():
            require_values(f"step.log of {name} got", value, self.y)
            self.notes.log(name, value)

    def log_adversarial_accuracy(self) -> None:
        """Note whether the outputs at the inner attack's points are right, if the loss saw any."""
        for found in (*self._adversaries.values(), *self._shared.values()):
            if (known := self._outputs.get(id(found.x))) is not None:
                self.log(adversarial_accuracy=(known[1].logits.argmax(1) == self.y).float())
                return

    def _like(self, y: Tensor, notes: Notes) -> TrainStep:
        return TrainStep(
            self.model,
            self.x,
            y,
            self.index,
            key=self.key,
            inner=self.inner,
            epoch=self.epoch,
            progress=self.progress,
            notes=notes,
            forward=self.forward,
            teacher=self.teacher_forward,
        )

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
        norm = inner.threat.norm
        return Problem.of(
            self.x,
            self.y,
            eps,
            norm,
            key=self.key,
            index=self.index,
            logits0=logits0,
            free=None if inner.free is None else inner.free.expand_as(self.x),
        )

    def _forward(self, x: Tensor) -> Output:
        self.n_forward += len(x)
        self.n_backward += len(x)  # every output is part of the loss
        return self.forward.output(x)


def require_values(what: str, values: object, y: Tensor) -> Tensor:
    """The values, if they are a tensor [B] as y is. Raises UserError, beginning with `what`."""
    if isinstance(values, Tensor) and values.shape == y.shape:
        return values
    found = f"shape {tuple(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
    raise UserError(
        f"{what} {found}, not one value per sample, a tensor of shape ({len(y)},): "
        "leave out means and sums over the batch"
    )
