"""A function of images as a module, so that it can be frozen and attacked like any other model.

It is one of tensors, or of NumPy arrays [B,*] or [B,D]: found by trying. So is what it gives:
scores, probabilities, or predicted classes [B] only.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robbench.core.errors import RobbenchError, UserError
from robbench.models.outputs.options import Reading, Scale
from robbench.models.outputs.scales import probabilities


class Function(nn.Module):
    """Calls `function`, whose modules are its children: frozen with it, and part of its state.

    They are those around a function and among its globals, the owner of a method, and what a
    partial holds. scale: what its outputs are, as far as `fit` found; labels: the class of each, ()
    if unknown.
    """

    scale: Scale = "logits"
    labels: tuple[str, ...] = ()

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function = function
        self.used = nn.ModuleList(dict.fromkeys(_modules(function)))
        self.call: Callable[[Tensor], Any] = function

    def forward(self, x: Tensor) -> Any:
        """What the function returns; of one on arrays as a tensor."""
        return self.call(x)

    def get_extra_state(self) -> Any:
        """What its answers depend on besides its modules: the variables around it."""
        return [self.function]

    def fit(self, x: Tensor, reading: Reading) -> None:
        """Find out what it takes and gives, from inputs x [2,*] and what is known of its outputs.

        Numbers [B] without fractions are classes. Where it takes neither tensors nor arrays it is
        left as it was.
        """
        if isinstance(self.call, OnArrays):
            return
        for ask in (self.function, OnArrays(self.function), OnArrays(self.function, flat=True)):
            try:
                with torch.no_grad():
                    answer = ask(x.clone())
            except RobbenchError:
                raise
            except Exception:  # whatever it raises on what it was not made for
                continue
            if isinstance(ask, OnArrays):
                named = answer.ndim == 1 and bool((answer == answer.round()).all())
                ask.classes = named and reading.options.scale in ("logits", "labels")
                self.call, self.scale = ask, "labels" if ask.classes else _scale(answer)
                return
            if not isinstance(answer, np.ndarray | np.generic | list):
                return


class OnArrays:
    """A function on float arrays [B,*], or [B,D] where `flat`, as one on tensors.

    classes: it gives numbers [B] that name classes, not scores. This holds for every batch: a
    score may have no fraction by chance.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        *,
        flat: bool = False,
        dtype: type = np.float32,
        classes: bool = False,
    ) -> None:
        self.function = function
        self.flat = flat
        self.dtype = dtype
        self.classes = classes

    def __call__(self, x: Tensor) -> Tensor:
        # A copy, which may be written to.
        rows: NDArray[np.floating] = x.detach().cpu().numpy().astype(self.dtype)
        found = np.asarray(self.function(rows.reshape(len(rows), -1) if self.flat else rows))
        if found.dtype.kind not in "biuf":
            raise TypeError(f"it returns {found.dtype} instead of numbers")
        if found.ndim and len(found) != len(rows):
            raise UserError(f"the model returns {len(found)} rows for {len(rows)} inputs")
        if self.classes and (odd := found[found != np.round(found)]).size:
            raise UserError(f"it names class {odd.flat[0]:g}: scores of classes should be [B,K]")
        kind = np.int64 if self.classes else np.float32
        return torch.from_numpy(found.astype(kind)).to(x.device)


def _scale(answer: Tensor) -> Scale:
    found = probabilities(answer) if answer.ndim == 2 else None
    if found is None:
        return "logits"
    return "probs" if found[0] == "probabilities" else "log-probs"


def _modules(value: Any) -> Iterator[nn.Module]:
    if isinstance(value, nn.Module):
        yield value
    elif isinstance(value, functools.partial):
        for part in (value.func, *value.args, *value.keywords.values()):
            yield from _modules(part)
    elif inspect.ismethod(value):
        yield from _modules(value.__self__)
        yield from _modules(value.__func__)
    elif inspect.isfunction(value):
        outside = inspect.getclosurevars(value)
        for part in (*outside.nonlocals.values(), *outside.globals.values()):
            if isinstance(part, nn.Module):
                yield part
    elif hasattr(value, "__dict__"):
        yield from (part for part in vars(value).values() if isinstance(part, nn.Module))
