"""What a loss is: per-sample values [B], pulled from a training step that makes each output and adversary at most once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Protocol, TypeVar

from torch import Tensor, nn

from robbench.data.base import DataInfo
from robbench.models.base import Classifier, Output

T = TypeVar("T")


class Perturbed(Protocol):
    """What the inner maximisation gives back."""

    @property
    def x(self) -> Tensor:
        """[B,*] the perturbed inputs, without gradient."""

    @property
    def survived(self) -> Tensor:
        """[B] int64: inner steps before the label first fell, `steps` if it never did."""

    @property
    def steps(self) -> int:
        """Length of the inner attack."""


class Step(Protocol):
    """One training batch. Outputs are in training mode, with gradient, lazy and memoised."""

    x: Tensor  # [B,*] clean inputs in [0,1]
    y: Tensor  # [B] int64 labels
    index: Tensor  # [B] int64 positions in the training set
    key: Tensor  # [B] int64 random keys, of the sample and the epoch (core/keyed.py)
    epoch: int
    progress: float  # share of training done, in [0,1]

    @property
    def clean(self) -> Output:
        """Logits [B,K] and features [B,D] at x."""

    @property
    def out(self) -> Output:
        """What a plain loss looks at: clean, or at the recipe's inner attack when it has one."""

    @property
    def head(self) -> nn.Module:
        """The last layer: from features [B,D] to logits [B,K]."""

    @property
    def eps(self) -> float:
        """The inner attack's budget at this point of training, 0 without one."""

    def adversary(self, objective: str | None = None, eps: Tensor | None = None) -> Perturbed:
        """The recipe's inner attack from x, climbing `objective` (by default its own) within eps [B] (by default the recipe's).

        Made once per objective; another time when eps is given.
        """

    def at(self, x: Tensor) -> Output:
        """Logits and features at any points."""

    def peek(self, x: Tensor) -> Tensor:
        """Logits [B,K] at any points without gradient, in the mode of the inner attack."""

    def once(self, name: str, make: Callable[[], T]) -> T:
        """`make()` at the first call in this batch, the same again afterwards: also when weight perturbation asks again."""

    def memory(self, name: str, initial: float) -> Tensor:
        """[B] float32: what was last remembered under a name for these samples, `initial` before that."""

    def remember(self, name: str, values: Tensor) -> None:
        """Keep values [B] for these samples; they outlive the epoch, and a resumed run has them again."""

    def log(self, **values: Tensor) -> None:
        """Note values [B] whose mean over the epoch goes to the epochs table."""


class Loss(ABC):
    """A registered loss: a frozen dataclass of hyper-parameters. It holds no tensors and no attack of its own."""

    batch_coupled: ClassVar[bool] = False
    """True when a sample's value depends on the others in its batch."""
    inner: ClassVar[str | None] = None
    """The inner attack it cannot do without, used when the recipe names none."""
    stateful: ClassVar[bool] = False
    """True when a call leaves something behind, so that mixup, which calls it for each of two labels, cannot go with it."""
    plain: ClassVar[bool] = False
    """True when it trains without an inner attack, whatever the recipe says."""
    climbs: ClassVar[str | None] = None
    """The objective its inner attack is made to climb, when that is not the attack's own choice."""
    fits_head: ClassVar[bool] = False
    """True when `fit_head` must see the training features before the model can classify."""

    def check(self, info: DataInfo) -> None:
        """Raise UserError when the loss cannot work on such data. Called before anything is built."""
        return

    def prepare(self, model: Classifier, info: DataInfo) -> Classifier:
        """Swap the head, if the loss needs another; once, before the optimizer exists."""
        return model

    @abstractmethod
    def __call__(self, step: Step) -> Tensor:
        """[B] values; the trainer takes the mean."""

    def fit_head(self, head: nn.Module, features: Tensor, labels: Tensor) -> None:
        """Set what the loss leaves free (a bias) from training features [N,D] and labels [N]; after every epoch."""
        return
