"""Attacks and losses that each break one rule, for the suite to find. Not a test module."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robbench.attacks.base import Attack, Backend, Oracle
from robbench.attacks.pgd import PGD, State
from robbench.losses.base import Loss, Step
from robbench.objectives import cross_entropy
from robbench.threat.problem import Problem


@dataclasses.dataclass(frozen=True, kw_only=True)
class Honest(PGD):
    """Breaks nothing."""

    steps: int = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class GlobalNoise(Honest):
    """Starts from torch's global generator."""

    def start(self, p: Problem) -> State:
        return State(x=p.ball.project(p.x0 + p.eps.max() * (2 * torch.rand(p.x0.shape) - 1)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchMean(Honest):
    """Every row moves along the batch's mean gradient."""

    def step(self, s: State, t: Tensor, p: Problem, q: Oracle) -> State:
        a = q.grad(s.x, cross_entropy)
        return State(x=p.ball.ascend(s.x, a.grad + a.grad.mean(0, keepdim=True), 0.4 * p.eps))


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchClock(Honest):
    """Its schedule follows the oldest row of the batch instead of each row's own step."""

    def step(self, s: State, t: Tensor, p: Problem, q: Oracle) -> State:
        a = q.grad(s.x, cross_entropy)
        return State(x=p.ball.ascend(s.x, a.grad, p.eps / (1 + t.max())))


@dataclasses.dataclass(frozen=True, kw_only=True)
class MovesFixed(Honest):
    """Projects by the norm alone, which knows of no fixed entries."""

    def step(self, s: State, t: Tensor, p: Problem, q: Oracle) -> State:
        a = q.grad(s.x, cross_entropy)
        x = s.x + 0.1 * p.eps.max() * (1 + a.grad.sign())
        return State(x=p.norm.project_boxed(x, p.x0, p.eps))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outside(Honest):
    """Leaves the ball, and finds mistakes there."""

    def step(self, s: State, t: Tensor, p: Problem, q: Oracle) -> State:
        a = q.grad(s.x, cross_entropy)
        return State(x=(s.x + 0.5 * a.grad.sign()).clamp(0, 1))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChangesWeights(Honest):
    """Reaches through the oracle and trains the model a little."""

    def step(self, s: State, t: Tensor, p: Problem, q: Any) -> State:
        with torch.no_grad():
            for weight in q.model.parameters():
                weight += 1e-4
        return super().step(s, t, p, q)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChangesMode(Honest):
    """Leaves dropout and batch-norm in training mode meanwhile, so running statistics drift."""

    def step(self, s: State, t: Tensor, p: Problem, q: Any) -> State:
        q.model.train()
        return super().step(s, t, p, q)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExtraQuery(Honest):
    """Asks the model behind the oracle's back."""

    def step(self, s: State, t: Tensor, p: Problem, q: Any) -> State:
        q.model(s.x)
        return super().step(s, t, p, q)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TwoQueries(Honest):
    """Looks at its new point in the step that made it."""

    def step(self, s: State, t: Tensor, p: Problem, q: Oracle) -> State:
        moved = super().step(s, t, p, q)
        q.logits(moved.x)
        return moved


@dataclasses.dataclass(frozen=True, kw_only=True)
class EveryPair(Honest):
    """Multiplies each row's gradient by the budgets of all rows."""

    def step(self, s: State, t: Tensor, p: Problem, q: Oracle) -> State:
        a = q.grad(s.x, cross_entropy)
        return State(x=s.x + p.eps[:, None, None, None, None] * a.grad.sign())


@dataclasses.dataclass(frozen=True, kw_only=True)
class QueriesPairs(Honest):
    """Asks about too many points."""

    def step(self, s: State, t: Tensor, p: Problem, q: Oracle) -> State:
        q.logits(s.x + p.eps[:, None, None, None, None])
        return s


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoLift(Honest):
    """Multiplies a column of pixels by a budget per row."""

    def step(self, s: State, t: Tensor, p: Problem, q: Oracle) -> State:
        return State(x=s.x + p.eps * q.grad(s.x, cross_entropy).grad.sign())


@dataclasses.dataclass(frozen=True, kw_only=True)
class NaNPoints(Honest):
    """Divides by zero where it stands."""

    def step(self, s: State, t: Tensor, p: Problem, q: Oracle) -> State:
        a = q.grad(s.x, cross_entropy)
        return State(x=s.x + a.grad / 0 * 0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class UnknownNorm(Honest):
    """Claims a norm that does not exist."""

    norms: ClassVar[frozenset[str]] = frozenset({"l7"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class NormsAsText(Honest):
    """Names its norm where a set of them is due."""

    norms: ClassVar[Any] = "linf"


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoNorms(Honest):
    """Says nothing about its norms."""

    norms: ClassVar[Any] = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoSteps(Attack[State]):
    """Does not say how long it is."""

    def start(self, p: Problem) -> State:
        return State(x=p.x0)

    def step(self, s: State, t: Tensor, p: Problem, q: Oracle) -> State:
        a = q.grad(s.x, cross_entropy)
        return State(x=p.ball.ascend(s.x, a.grad, p.eps))

    def point(self, s: State) -> Tensor:
        return s.x


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoStart(Honest):
    """Starts from a tensor, not from a state."""

    def start(self, p: Problem) -> Any:
        return p.x0


@dataclasses.dataclass(frozen=True, kw_only=True)
class ForgetsToReturn(Honest):
    """Moves and keeps it to itself."""

    def step(self, s: State, t: Tensor, p: Problem, q: Oracle) -> Any:
        super().step(s, t, p, q)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NeedsFourClasses(Honest):
    """Cannot do with fewer than four classes, and does not say so."""

    def step(self, s: State, t: Tensor, p: Problem, q: Oracle) -> State:
        p.logits0.topk(4, dim=1)
        return super().step(s, t, p, q)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImagesOnly(Honest):
    """Takes for granted that a sample has channels, rows and columns."""

    def start(self, p: Problem) -> State:
        _, _, _, _ = p.x0.shape
        return super().start(p)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ForgetsAnOption(Honest):
    """Its options do not survive its canonical spec."""

    extra: Any = 0.0

    def __eq__(self, other: object) -> bool:
        return False

    def __hash__(self) -> int:
        return 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainsTheModel(Backend):
    """A foreign attack that leaves its mark on the weights."""

    def run(self, model: nn.Module, p: Problem, *, seed: int) -> Tensor:
        with torch.no_grad():
            next(model.parameters()).add_(0.01)
        return p.x0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reseeds(Backend):
    """A foreign attack that reseeds the global generator."""

    def run(self, model: nn.Module, p: Problem, *, seed: int) -> Tensor:
        torch.manual_seed(seed)
        torch.rand(3)
        return p.x0


class Plain(Loss):
    """Cross-entropy, done right."""

    def __call__(self, step: Step) -> Tensor:
        return F.cross_entropy(step.clean.logits, step.y, reduction="none")


@dataclasses.dataclass(frozen=True, kw_only=True)
class HonestLoss(Plain):
    """Breaks nothing."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class HiddenAdversary(Loss):
    """Attacks, and names no inner attack for trainings that have none."""

    def __call__(self, step: Step) -> Tensor:
        return F.cross_entropy(step.at(step.adversary().x).logits, step.y, reduction="none")


@dataclasses.dataclass(frozen=True, kw_only=True)
class HiddenTeacher(Loss):
    """Learns from a teacher, and does not say that it needs one."""

    def __call__(self, step: Step) -> Tensor:
        return (step.clean.logits - step.teacher(step.x)).square().mean(1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Nothing(Plain):
    """Forgets to return."""

    def __call__(self, step: Step) -> Any:
        super().__call__(step)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scalar(Plain):
    """Takes the mean itself."""

    def __call__(self, step: Step) -> Tensor:
        return super().__call__(step).mean()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Column(Plain):
    """Gives [B,1]."""

    def __call__(self, step: Step) -> Tensor:
        return super().__call__(step)[:, None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Coupled(Plain):
    """Weighs samples by the batch and does not say so."""

    def __call__(self, step: Step) -> Tensor:
        values = super().__call__(step)
        return values * (values / values.mean()).detach()


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeclaredCoupled(Coupled):
    """Weighs samples by the batch and says so: allowed."""

    batch_coupled: ClassVar[bool] = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class ByPlace(Plain):
    """Weighs samples by their place in the batch."""

    def __call__(self, step: Step) -> Tensor:
        return super().__call__(step) * torch.arange(1, len(step.y) + 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NotANumber(Plain):
    """NaN for one sample."""

    def __call__(self, step: Step) -> Tensor:
        values = super().__call__(step)
        return torch.cat([values[:1] * torch.nan, values[1:]])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Noisy(Plain):
    """Draws from the global generator."""

    def __call__(self, step: Step) -> Tensor:
        return super().__call__(step) + torch.rand(len(step.y))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Detached(Plain):
    """No gradient reaches the weights."""

    def __call__(self, step: Step) -> Tensor:
        return super().__call__(step).detach().requires_grad_()


@dataclasses.dataclass(frozen=True, kw_only=True)
class LeavesTrainMode(Plain):
    """Switches the model to training mode for good."""

    def __call__(self, step: Any) -> Tensor:
        values = super().__call__(step)
        step.model.train()
        return values


@dataclasses.dataclass(frozen=True, kw_only=True)
class InfiniteHead(Plain):
    """Fits a head to infinity."""

    fits_head: ClassVar[bool] = True

    def fit_head(self, head: nn.Module, features: Tensor, labels: Tensor) -> None:
        for weight in head.parameters():
            weight.fill_(torch.inf)
