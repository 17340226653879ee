"""Objects with `predict` and the like, as scikit-learn has them, as modules without gradients."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robbench.core.errors import UserError
from robbench.models.function import Function, OnArrays
from robbench.models.outputs.options import Reading, Scale

_METHODS: dict[str, Scale] = {
    "decision_function": "logits",
    "predict_log_proba": "log-probs",
    "predict_proba": "probs",
    "predict": "labels",
}
_LEAST = -100.0  # of the logarithm of a probability, which may be zero
_TRIED = 32  # random inputs that scores and predictions are compared on


class Predicts(Protocol):
    """What has `predict`, as estimators of scikit-learn do."""

    def predict(self, X: Any) -> Any:
        """The class of each row."""


def as_module(model: Any) -> nn.Module:
    """A module as it is, an estimator or a function as one. UserError for anything else."""
    if isinstance(model, nn.Module):
        return model
    if any(callable(getattr(model, name, None)) for name in _METHODS):
        return Estimator(model)
    if not callable(model):
        raise UserError(f"the model is no module and no function but {type(model).__name__}")
    return Function(model)


class Estimator(Function):
    """Asks an estimator for what says most: scores, then (log-)probabilities, then classes.

    Scores count only where the largest is the class that it predicts. It gets float64 arrays [B,D],
    or [B,*] where it takes no other. Where all of its `classes_` are names of the data's classes,
    these are its outputs, in the data's order; one that it does not know has a score of -inf.
    """

    def __init__(self, estimator: Any) -> None:
        super().__init__(estimator)
        classes = getattr(estimator, "classes_", None)
        self.known: list[Any] = [] if classes is None else np.asarray(classes).tolist()
        self.labels = tuple(map(str, self.known))
        self.names: Sequence[str] = ()

    @property
    def count(self) -> int:
        """How many classes there are at least: of numbers, those from 0 to the largest."""
        numbers = [k for k in self.known if isinstance(k, int)]
        return 1 + max(numbers) if len(numbers) == len(self.known) else len(self.known)

    def get_extra_state(self) -> Any:
        """A hash of all that was learned, or the object itself where it cannot be pickled."""
        import joblib

        with contextlib.suppress(Exception):
            return joblib.hash(self.function)
        return [vars(self.function)]

    def fit(self, x: Tensor, reading: Reading) -> None:
        """Choose the method, from inputs x [2,*]. UserError where none can be called."""
        known = {*map(str, self.known)}
        self.names = reading.names if known and known <= {*reading.names} else ()
        self.labels = tuple(self.names or map(str, self.known))
        noise = torch.rand(_TRIED, *x.shape[1:], generator=torch.Generator().manual_seed(0))
        x, first = torch.cat([x, noise.to(x)]), None
        for name, scale in _METHODS.items():
            if not callable(getattr(self.function, name, None)):
                continue
            for flat in (True, False):
                ask = self._asking(name, flat=flat)
                try:
                    scores = ask(x)
                    agrees = ask.classes or self._agrees(scores, x, flat=flat)
                except Exception as error:  # whatever it raises on what it was not made for
                    first = first or error
                    continue
                if agrees:
                    self.call, self.scale = ask, scale
                    return
        raise UserError(
            f"{type(self.function).__name__} gives no scores and no classes for inputs of shape "
            f"{tuple(x.shape[1:])}" + (f" ({first})".partition("\n")[0] if first else "")
        ) from first

    def _asking(self, name: str, *, flat: bool) -> OnArrays:
        """`predict` alone names classes."""
        return OnArrays(self._calling(name), flat=flat, dtype=np.float64, classes=name == "predict")

    def _calling(self, name: str) -> Any:
        method = getattr(self.function, name)

        def call(rows: NDArray[np.floating]) -> Any:
            with np.errstate(divide="ignore"):
                found = np.asarray(method(rows))
            if name == "predict":
                return self._numbers(found)
            return self._placed(np.maximum(found, _LEAST) if "log" in name else found, name)

        return call

    def _numbers(self, named: NDArray[Any]) -> NDArray[Any]:
        """Predicted classes as their numbers."""
        if not self.known:
            return named
        numbers = dict(zip(self.known, self._places(), strict=True))
        return np.array([numbers[name] for name in named.tolist()])

    def _places(self) -> list[int]:
        """The number of each class it knows."""
        return [
            self.names.index(str(name)) if self.names else n for n, name in enumerate(self.known)
        ]

    def _placed(self, scores: NDArray[Any], method: str) -> NDArray[Any]:
        """Its scores [B,k] as [B,K], where the data's classes are others than 0 to k - 1."""
        places = self._places()
        if not self.names or places == list(range(len(self.names))):
            return scores
        if scores.ndim == 1:  # above zero for the second of two
            scores = np.stack([-scores / 2, scores / 2], 1)
        least = 0.0 if method == "predict_proba" else -np.inf
        placed = np.full((len(scores), len(self.names)), least)
        placed[:, places] = scores
        return placed

    def _agrees(self, scores: Tensor, x: Tensor, *, flat: bool) -> bool:
        """Whether the largest score is of the class that is predicted."""
        if not hasattr(self.function, "predict"):
            return True
        predicted = self._asking("predict", flat=flat)(x)
        if scores.ndim == 1:
            return bool(((scores > 0).long() == predicted).all())
        if self.known and scores.shape[1] != len(self.labels):
            return False
        return bool((scores.argmax(1) == predicted).all())
