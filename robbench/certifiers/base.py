"""What a method of certification is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, NamedTuple, TypeAlias

from torch import Tensor

from robbench.models.base import Classifier


class Sample(NamedTuple):
    """One sample, and the budget that it is to be certified for.

    x [1,*] in [0,1]; label; key [1] int64 of its random numbers; eps: inf only where certificates
    have a radius; free [*] bool: the entries that may change, None = all.
    """

    x: Tensor
    label: int
    key: Tensor
    eps: float
    norm: str
    free: Tensor | None = None


class Certificate(NamedTuple):
    """What was found of a sample.

    predicted: the class that the certified classifier predicts, None where it abstains. certified:
    no input of the region has another prediction than the label. margin_low: a lower bound of the
    smallest logit margin in the region; radius: up to which size of perturbation the prediction is
    certified; None where the method has none.
    """

    predicted: int | None
    certified: bool
    margin_low: float | None
    radius: float | None
    n_forward: int


Prove: TypeAlias = Callable[[Sample], Certificate]


class Certifier(ABC):
    """A registered method: a frozen dataclass of its options.

    norms: those it has certificates in. smoothed: it certifies the smoothed classifier, not the
    model. radii: its certificates have a radius; that of other methods is sought by bisection. A
    sample is looked at alone, so that its certificate depends on no other.
    """

    norms: ClassVar[frozenset[str]]
    smoothed: ClassVar[bool] = False
    radii: ClassVar[bool] = False

    @abstractmethod
    def start(self, model: Classifier, x: Tensor) -> Prove:
        """What certifies samples of a frozen model; x [n,*] are some of them.

        Raises UserError, naming the layer, for a model that it cannot certify.
        """
