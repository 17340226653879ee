"""What an attack is: a recurrence on rows.

It holds settings only; the engine owns the loop, the model, the clock, the books and the verdict
(`engine/`).

Rules. A step first queries the rows' points, then moves them: N moves need N+1 queries, and the
check of a new point is the next step's query. Every schedule is a function of the row's own step
count t [B]. Restarts and targets are rows, not loops. Randomness comes from the row's key. Nothing
may depend on a row's neighbours.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Generic, Literal, NamedTuple, Self, TypeVar

from torch import Tensor, nn

from robbench.core import keyed
from robbench.core.errors import UserError
from robbench.core.norms import NORMS
from robbench.core.rows import Rows
from robbench.objectives import ANCHORED, Objective, margins_left
from robbench.threat.problem import Problem

S = TypeVar("S", bound=Rows)

MARGIN = "objective=margin"
# Objectives that keep their gradient however confident softmax is.
UNSATURATED = ("margin", "dlr", "dlr-targeted", "probability-margin")


class Answer(NamedTuple):
    """What the model says about a batch of points.

    logits: [B,K].
    value: [B] the objective.
    grad: [B,*] its gradient; finite (NaN and inf are zeroed and counted).
    hit: [B] bool, misclassified.
    """

    logits: Tensor
    value: Tensor
    grad: Tensor
    hit: Tensor


class Oracle(ABC):
    """The model as an attack sees it: counts queries, remembers each row's worst point."""

    @abstractmethod
    def logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """One forward per row: logits [B,K] and hit [B]."""

    def margins(self, x: Tensor, p: Problem) -> tuple[Tensor, Tensor]:
        """One forward per row: margins left [B] (`margins_left`) and hit [B]."""
        logits, hit = self.logits(x)
        return margins_left(logits, p.aim, p.targeted), hit

    @abstractmethod
    def grad(self, x: Tensor, objective: Objective, need: Tensor | None = None) -> Answer:
        """One forward and one backward per row; a `RowObjective` has as many rows as x.

        Rows at their last step have no backward and a zero gradient.

        `need` [B] bool: the rows that want a gradient at all (others may get one, or zeros).
        """

    @abstractmethod
    def jacobian(
        self, x: Tensor, classes: Tensor, need: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One forward and k backwards per row.

        Gives logits [B,K], gradients [B,k,*] of the logits of `classes` [B,k], and hit [B].

        `need` as for `grad`.
        """


class AnyAttack:
    """The common base of what the registry of attacks holds.

    norms: those it works in.
    goal: `fixed-eps` seeks an adversarial point inside the budget eps. `minimum-norm` seeks the
        nearest one, so it also runs without a budget (eps = inf); under a finite eps it ends at
        the first point inside.
    access: what it sees of the model under attack: gradients, logits, predicted classes or
        nothing. One that learns less and breaks what those before it did not raises a flag.
    objective: the name of what it climbs (`objectives.py`); None where it climbs something of its
        own.
    restarts: random starts per sample.
    """

    norms: ClassVar[frozenset[str]] = frozenset({"linf", "l2"})
    goal: ClassVar[Literal["fixed-eps", "minimum-norm"]] = "fixed-eps"
    access: ClassVar[Literal["white-box", "score-based", "decision-based", "none"]] = "white-box"

    objective: str | None = None
    restarts: int = 1

    @property
    def can_target(self) -> bool:
        """Whether it seeks the target where that alone is a success."""
        return False

    @property
    def leaves_ball(self) -> bool:
        """Whether its points may be outside of the budget: then it is for training alone."""
        return False

    @property
    def anchored(self) -> bool:
        """Whether it reads the clean logits, `Problem.logits0`."""
        return self.objective in ANCHORED

    @property
    def draws(self) -> int:
        """How often each query asks a random model; the majority decides."""
        return 1

    @property
    def cuts(self) -> frozenset[str]:
        """Options of which a smaller number gives the beginning of the same attack.

        With the same random keys it makes the same queries, only fewer. So a finished run also says
        what the shorter attack finds.
        """
        return frozenset()

    def gradients(self, classes: int) -> int:
        """Backwards per query at most, for the forecast of what an attack will cost."""
        return 1 if self.access == "white-box" else 0

    @property
    def kinds(self) -> frozenset[str]:
        """What advice calls it (`engine/advice.py`).

        square, hopskipjump, transfer, eot, apgd; objective=margin for all that a saturated softmax
        cannot stop.
        """
        climbs = self.objective in UNSATURATED or (
            self.objective is None and self.goal == "minimum-norm"
        )
        found = {
            "square": self.access == "score-based",
            "hopskipjump": self.access == "decision-based",
            "eot": self.draws > 1,
            MARGIN: climbs and self.access == "white-box",
        }
        return frozenset(kind for kind, so in found.items() if so)

    def adapted(self, classes: int) -> list[str]:
        """What so few classes change about it, one sentence each."""
        if self.objective in ("dlr", "dlr-targeted") and classes == 2:
            return ["DLR is the plain margin, as there is no third logit to scale it by"]
        if self.objective == "dlr-targeted" and classes == 3:
            return ["targeted DLR is scaled by z_(1) - z_(3), as there is no fourth logit"]
        return []

    def equip(self, find: Callable[[str], nn.Module]) -> Self:
        """The attack as it is run: with the other models it names, if any.

        Called once before a run, in the process that runs it. `find(name)` gives a model on the
        run's device that maps inputs in [0,1] to logits; it raises UserError for an unknown
        name.
        """
        return self

    @property
    def others(self) -> tuple[nn.Module, ...]:
        """The other models that it asks, once equipped."""
        return ()


class Attack(AnyAttack, ABC, Generic[S]):
    """An attack as start and step on rows; a frozen dataclass of hyper-parameters.

    steps: moves per row at most; a row is queried at most steps + 1 times.
    norms, goal, access, objective, restarts: as of `AnyAttack`.
    """

    steps: int

    def variants(self, classes: int) -> int:
        """Runs per sample, one after the other.

        By default its restarts; an attack with targets among `classes` defines its own. Under a
        targeted threat model there are two, the label and the target.
        """
        return self.restarts

    def vary(self, p: Problem, k: Tensor) -> Problem:
        """The problem of variant k [B]; by default the k-th has its own random key."""
        return p.replace(key=keyed.fold(p.key, k), variant=k)

    def preparation(self, classes: int) -> tuple[int, int]:
        """Forwards and backwards that `prepare` makes for a sample at most."""
        return 0, 0

    def prepare(self, p: Problem, q: Oracle) -> Tensor | None:
        """[B,k] what it asks about the clean inputs, once for all variants, or None.

        `vary` and `start` find it as p.prepared, which is None in training.
        """
        return None

    @abstractmethod
    def start(self, p: Problem) -> S:
        """The state of fresh rows; asks the model nothing."""

    @abstractmethod
    def step(self, s: S, t: Tensor, p: Problem, q: Oracle) -> S:
        """Query at the rows' points, then move.

        t [B] counts the moves of each row; at t == steps a row queries only.
        """

    @abstractmethod
    def point(self, s: S) -> Tensor:
        """[B,*]: the rows' points."""

    def done(self, s: S) -> Tensor | None:
        """[B] bool: rows that end before their last step; None where none ever does."""
        return None


class Backend(AnyAttack, ABC):
    """A whole attack of another package, run on the samples that earlier attacks left.

    It does its own batching and random numbers, so its results may depend on the batch; the engine
    still counts its queries (shared evenly over the batch's rows) and re-checks every point.
    """

    @abstractmethod
    def run(self, model: nn.Module, p: Problem, *, seed: int) -> Tensor:
        """Points [B,*] for a batch of correctly classified samples.

        Raises UserError when the package is missing or cannot attack this.
        """


AnyRowAttack = Attack[Any]


def what_is_missing(attack: AnyAttack) -> str | None:
    """What an attack's class has to define and does not, with advice; None if complete."""
    norms: Any = attack.norms
    if not isinstance(norms, frozenset | set) or not norms or not norms <= {*NORMS}:
        return (
            f"norms must be a set of some of {', '.join(NORMS)}: write in its class "
            'norms = frozenset({"linf"})'
        )
    if isinstance(attack, Attack) and not isinstance(getattr(attack, "steps", None), int):
        return (
            "steps, its moves per row at most, must be a whole number: write in its class the "
            "option steps: int = 10"
        )
    return None


def state_of(attack: AnyRowAttack, method: str, state: Any) -> Rows:
    """What `start` or `step` of an attack returned. Raises UserError for what is no state."""
    if not isinstance(state, Rows):
        raise UserError(
            f"attack {type(attack).__qualname__}: its {method} returned {type(state).__name__}, "
            "not its state, of a class derived from robbench.core.rows.Rows"
        )
    return state


def require_whole(attack: AnyAttack, spec: str) -> None:
    """Raise UserError for an attack whose class lacks what the engine needs to know."""
    if missing := what_is_missing(attack):
        raise UserError(f"attack {spec}: {missing}")


def cut_targets(targets: int, classes: int) -> list[str]:
    """In words, that an attack has fewer targets than it asks for."""
    return [f"{targets} targets are cut to {classes - 1}"] if targets > classes - 1 else []


class AttackEntry(NamedTuple):
    """One attack of a cascade, under its canonical spec."""

    spec: str
    attack: AnyRowAttack | Backend
