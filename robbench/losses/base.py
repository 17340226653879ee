"""What a loss is: per-sample values [B], pulled from a training step that makes each output and adversary at most once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Protocol

from torch import Tensor, nn

from robbench.data.base import DataInfo
from robbench.models.base import Classifier, Output


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
    epoch: int
    progress: float  # share of training done, in [0,1]

    @property
    def clean(self) -> Output:
        """Logits [B,K] and features [B,D] at x."""

    @property
    def out(self) -> Output:
        """What a plain loss looks at: clean, or at the recipe's inner attack when it has one."""

    def adversary(self, objective: str | None = None) -> Perturbed:
        """The recipe's inner attack from x, climbing `objective` (by default its own); made once per objective."""

    def at(self, x: Tensor) -> Output:
        """Logits and features at any points."""


class Loss(ABC):
    """A registered loss: a frozen dataclass of hyper-parameters. It holds no tensors and no attack of its own."""

    batch_coupled: ClassVar[bool] = False
    """True when a sample's value depends on the others in its batch."""
    inner: ClassVar[str | None] = None
    """The inner attack it cannot do without, used when the recipe names none."""
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
