"""The base class of losses: a training step in, one value per sample [B] out.

The step makes each output and each adversary only when the loss asks for it, and at most once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Final, Protocol, TypeVar

from torch import Tensor, nn

from robbench.data.base import DataInfo
from robbench.models.base import Classifier, Output
from robbench.objectives import RowObjective

T = TypeVar("T")
AVERAGE: Final = "average"
"""The teacher that is the running average of the weights in training."""


class Perturbed(Protocol):
    """The result of the inner maximisation."""

    @property
    def x(self) -> Tensor:
        """[B,*] the perturbed inputs, without gradient."""

    @property
    def survived(self) -> Tensor:
        """[B] int64: inner steps before the label first fell, `steps` if it never did."""

    @property
    def steps(self) -> int:
        """Length of the inner attack."""


class Boundary(Protocol):
    """The nearest points found beyond the boundary where a margin is zero."""

    @property
    def x(self) -> Tensor:
        """[B,*] the points, without gradient; the inputs where none was found."""

    @property
    def distance(self) -> Tensor:
        """[B] in the recipe's norm: 0 where the input is beyond, inf where none was found."""

    @property
    def slope(self) -> Tensor:
        """[B] dual norm of the margin's gradient at the points."""


class Step(Protocol):
    """One training batch. Outputs are in training mode, with gradient, lazy and memoised.

    x: [B,*] clean inputs in [0,1].
    y: [B] int64 labels.
    index: [B] int64 positions in the training set.
    key: [B] int64 random keys, of the sample and the epoch (`core/keyed.py`).
    epoch: counted from 0.
    progress: share of training done, in [0,1].
    """

    x: Tensor
    y: Tensor
    index: Tensor
    key: Tensor
    epoch: int
    progress: float

    @property
    def clean(self) -> Output:
        """Logits [B,K] and features [B,D] at x."""

    @property
    def out(self) -> Output:
        """Outputs at the inner attack's points if the recipe has one, else the clean ones."""

    @property
    def head(self) -> nn.Module:
        """The last layer: from features [B,D] to logits [B,K]."""

    @property
    def eps(self) -> float:
        """The inner attack's budget at this point of training, 0 without one."""

    def adversary(
        self,
        objective: str | RowObjective | None = None,
        eps: Tensor | None = None,
        head: Callable[[Tensor], Tensor] | None = None,
    ) -> Perturbed:
        """Run the recipe's inner attack from x.

        It climbs `objective` (by default its own) within eps [B] (by default the recipe's): a name,
        or an object with tensors of each row, such as `SoftCrossEntropy` of robbench.objectives.
        With `head`, from features [B,D] to logits [B,K], it sees that in place of the model's own.
        Made once per name or object (make the object in `once`); with eps or head given, once per
        call.
        """

    def boundary(self, margins: Callable[[Tensor, Tensor], Tensor]) -> Boundary:
        """Go from x to where `margins`, [B] of logits [B,K] and labels [B], is zero, once per call.

        By the moves of the recipe's inner attack, which has to be FAB, and in its mode.
        """

    def at(self, x: Tensor) -> Output:
        """Logits and features at any points."""

    def peek(self, x: Tensor) -> Tensor:
        """Logits [B,K] at any points without gradient, in the mode of the inner attack."""

    def teacher(self, x: Tensor) -> Tensor:
        """The teacher's logits [B,K] at any points: without gradient, in evaluation mode.

        Asking again for the same tensor costs nothing.
        """

    def once(self, name: str, make: Callable[[], T]) -> T:
        """`make()` at the first call in this batch, the same result at later calls.

        Also when adversarial weight perturbation calls the loss a second time.
        """

    def memory(self, name: str, initial: float) -> Tensor:
        """[B] float32: the values last remembered for these samples, `initial` before that."""

    def remember(self, name: str, values: Tensor) -> None:
        """Keep values [B] for these samples, over epochs and resumed runs."""

    def class_means(self, name: str, values: Tensor, initial: float) -> Tensor:
        """[B,D] float32: the mean over the last epoch of the values of each sample's class.

        `initial` where it had no sample yet. The values [B,D] count for the next epoch; all of it
        is kept over resumed runs.
        """

    def log(self, **values: Tensor) -> None:
        """Note values [B] whose mean over the epoch goes to the epochs table."""


class Loss(ABC):
    """A registered loss: a frozen dataclass of hyper-parameters, without tensors or attacks.

    stateful: True when a call changes later ones; not allowed with mixup, which makes two calls.
    plain: True when it trains without an inner attack, whatever the recipe says.
    nearest: True when it calls `step.boundary`, for which its inner attack has to be FAB.
    fits_head: True when the trainer calls `fit_head` after every epoch.
    """

    stateful: ClassVar[bool] = False
    plain: ClassVar[bool] = False
    nearest: ClassVar[bool] = False
    fits_head: ClassVar[bool] = False

    @property
    def inner(self) -> str | None:
        """The inner attack that it needs, used when the recipe names none; None: it needs none."""
        return None

    @property
    def climbs(self) -> str | None:
        """The objective that its inner attack climbs; None: the attack's own.

        A loss that hands `adversary` an object has the name it resembles: the inner attack must
        know it.
        """
        return None

    @property
    def teacher(self) -> str | None:
        """The teacher that `step.teacher` asks, when the recipe names none.

        AVERAGE: the running average of the weights; "": the recipe has to name one; None: none.
        """
        return None

    @property
    def batch_coupled(self) -> bool:
        """Whether a sample's value depends on the other samples of its batch."""
        return False

    def check(self, info: DataInfo) -> None:
        """Raise UserError when the loss cannot work on such data; called before a model exists."""
        return

    def prepare(self, model: Classifier, info: DataInfo) -> Classifier:
        """Return the model with the head that the loss needs; called once, before training."""
        return model

    @abstractmethod
    def __call__(self, step: Step) -> Tensor:
        """[B] values; the trainer takes the mean."""

    def fit_head(self, head: nn.Module, features: Tensor, labels: Tensor) -> None:
        """Set what the loss leaves free, such as a bias, from features [N,D] and labels [N]."""
        return
