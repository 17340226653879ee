"""Foreign modules as classifiers: how they are called, and how their outputs are read."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from robbench.core.access import Access
from robbench.core.errors import RobbenchError, UserError
from robbench.core.freeze import frozen
from robbench.data.base import Units, reason
from robbench.models.base import Classifier, InUnits, Output, last_linear
from robbench.models.estimator import Estimator
from robbench.models.function import Function
from robbench.models.heads import build_head
from robbench.models.outputs.interface import Interface, find_interface
from robbench.models.outputs.options import UNKNOWN, Reading
from robbench.models.reentrant import has_reentrant_checkpoint


class External(Classifier):
    """A foreign module from [0,1] images to logits; features are the inputs of its last nn.Linear.

    Its state dict is the module's own under `body.`. `interface` says how it is called. Features
    and heads raise UserError when there is no nn.Linear, and `output` has features [B,0] then.
    """

    def __init__(
        self,
        model: nn.Module,
        classes: int,
        reading: Reading = UNKNOWN,
        batch: int | None = None,
    ) -> None:
        found = last_linear(model)
        super().__init__(
            nn.Identity(),
            model,
            nn.Identity(),
            features=found[1].in_features if found else 0,
            classes=classes,
        )
        self.reading = reading
        self.interface = Interface(batch=batch)
        self.assumed: tuple[str, ...] = ()  # what its source does not tell
        self.checked = False  # its outputs were logits of the right shape
        self.made_for = ""  # a sentence, where the data's images are of another size
        self._head_name = found[0] if found else ""
        self._why = "the model has no nn.Linear" if found is None else ""
        if found is not None:
            self._point_head_at(found[1])

    @property
    def batch(self) -> int | None:
        """The only number of rows the module takes at once; None where it takes any."""
        return self.interface.batch

    @property
    def notes(self) -> list[str]:
        """What was assumed, and what is unusual about the way it is called, one line each."""
        return [*self.assumed, *super().notes, *filter(None, [self.made_for])]

    def take_units(self, units: Units | None, device: torch.device) -> None:
        """Let inputs pass through `units` on their way to the module; None leaves them in [0,1]."""
        if units is not None:
            self.normalize = InUnits(units).to(device)

    def fit_interface(self, x: Tensor, places: Mapping[int, Sequence[int]] | None = None) -> None:
        """Find out how to call the module, from inputs x [2,*] in evaluation mode.

        places: see `find_interface`. Raises UserError when the module takes no such inputs.
        """
        weight = next((weight for weight in self.parameters() if weight.is_floating_point()), x)
        reading = self._known_reading(x)
        with self._watching_features() as seen:
            try:
                self.interface = find_interface(
                    self.body,
                    self.normalize(x),
                    self.classes,
                    dtype=weight.dtype,
                    reading=reading,
                    places=places,
                    batch=self.interface.batch,
                )
            except RobbenchError:
                raise
            except Exception as error:
                raise UserError(
                    f"it cannot process images of shape {tuple(x.shape[1:])} ({reason(error)})"
                    + (f"; {self.made_for}" if self.made_for else "")
                ) from error
        self.interface = dataclasses.replace(self.interface, reentrant=self._checkpointed(x))
        self.access = self._found_access(x)
        if self._head_name and not seen:
            self.features_dim = 0
            self._why = (
                f"the model's last nn.Linear, '{self._head_name}', takes no part in its forward "
                "pass"
            )

    def _checkpointed(self, x: Tensor) -> bool:
        try:
            with torch.enable_grad():
                return has_reentrant_checkpoint(self(x.clone().requires_grad_()))
        except Exception:  # it has no gradient, which is reported where one is needed
            return False

    def _known_reading(self, x: Tensor) -> Reading:
        """What is known of the outputs, also by a function itself, which is tried on x first."""
        if not isinstance(self.body, Function):
            return self.reading
        self.body.fit(x, self.reading)
        options, labels = self.reading.options, self.reading.labels or self.body.labels
        if options.scale == "logits" and self.body.scale != "logits":
            outputs = ",".join(filter(None, [self.body.scale, options.outputs]))
            options = dataclasses.replace(options, outputs=outputs)
        return self.reading._replace(options=options, labels=labels)

    def _found_access(self, x: Tensor) -> Access:
        """What the module shows: gradients where autograd finds one at inputs x."""
        if self.interface.scale == "labels":
            return "decision-based"
        leaf = x.clone().requires_grad_()
        try:
            with torch.enable_grad():
                z: Any = self(leaf)
            if not isinstance(z, Tensor):
                return "white-box"  # it is refused for what it returns
            found = torch.autograd.grad(z.sum(), leaf, allow_unused=True)[0]
        except torch.OutOfMemoryError:
            raise
        except Exception:  # whatever it raises where it is asked for a gradient
            return "score-based"
        return "score-based" if found is None else "white-box"

    def train(self, mode: bool = True) -> Self:
        """Set the mode of every module that has one.

        Exported modules have none, and a foreign `train` may do something else.
        """
        self.training = mode
        try:
            if "mode" not in inspect.signature(self.body.train).parameters:
                raise TypeError("not the method of nn.Module")
            self.body.train(mode)
        except Exception:  # whatever a foreign method raises
            for module in self.body.modules():
                module.training = mode
        return self

    def forward(self, x: Tensor) -> Tensor:
        """[B,K] logits. UserError where a model that was checked gives another shape."""
        z = self.interface.ask(self.body, self.normalize(x), self.training)
        if self.checked and isinstance(z, Tensor) and z.shape != (len(x), self.width):
            raise UserError(
                f"the model returns shape {tuple(z.shape)} for {len(x)} inputs, where it should "
                f"be ({len(x)}, {self.width}) as before"
            )
        return z

    def features(self, x: Tensor) -> Tensor:
        """[B,D]: what the last nn.Linear reads."""
        self._last_layer()
        return self.output(x).features

    def output(self, x: Tensor) -> Output:
        """Logits and features of one pass."""
        if self.features_dim == 0:
            logits = self(x)
            return Output(logits, logits.new_zeros(len(logits), 0))
        with self._watching_features() as seen:
            logits = self(x)
        features = seen[-1] if self.interface.batch is None else torch.cat(seen)[: len(x)]
        return Output(logits, features.flatten(1))

    def with_head(self, spec: str) -> Classifier:
        """The same module with its last nn.Linear replaced (`models/heads.py`)."""
        device = next(self._last_layer().parameters()).device
        new = build_head(spec, self.features_dim, self.classes).to(device)
        if self._head_name:
            parent, _, name = self._head_name.rpartition(".")
            setattr(self.body.get_submodule(parent), name, new)
        else:
            self.body = new
        self._point_head_at(new)
        self.head_spec = spec
        # The outputs of the new head are the classes.
        self.reading, self.checked = UNKNOWN, False
        self.interface = dataclasses.replace(
            Interface(),
            batch=self.interface.batch,
            dtype=self.interface.dtype,
            reentrant=self.interface.reentrant,
        )
        return self

    @contextlib.contextmanager
    def _watching_features(self) -> Iterator[list[Tensor]]:
        # Hooked for a while only: a lasting hook would keep a batch alive and get in the way of
        # copies and compilation.
        seen: list[Tensor] = []
        handle = self.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            yield seen
        finally:
            handle.remove()

    def _last_layer(self) -> nn.Module:
        if self.features_dim == 0:
            raise UserError(
                f"{self._why}, so its features and head are undefined; attacks on logits still work"
            )
        return self.head

    def _point_head_at(self, layer: nn.Module) -> None:
        # Everybody's last layer is `head`, but this one lives in the body: registered here too, it
        # would be saved twice.
        self._modules.pop("head", None)
        object.__setattr__(self, "head", layer)


def count_classes(model: nn.Module, x: Tensor) -> int:
    """How many classes a foreign module tells apart, asked about inputs x [2,*].

    Two where it has one output; zero where it names one class only and does not say of how many.
    Raises UserError where it takes no such inputs, NoLogitsError where it gives no logits. It is
    left as it was.
    """
    if isinstance(model, External):
        wrapped = External(model.body, 0, batch=model.batch)
    else:
        wrapped = External(model, 0)
    with frozen(wrapped), torch.no_grad():
        wrapped.fit_interface(x)
        if isinstance(model, Estimator) and model.known:
            return model.count
        if wrapped.interface.scale == "labels":
            return wrapped.interface.width
        z = wrapped(x)
    if isinstance(z, Tensor) and z.shape in ((len(x),), (len(x), 1)):
        return 2
    return require_logits(z, len(x)).shape[1]


class NoLogitsError(UserError):
    """What a model returns is no matrix of logits."""


def require_logits(answer: Any, rows: int, classes: int | str = "K") -> Tensor:
    """The answer [rows,*] for some rows. NoLogitsError where it is no matrix of so many rows."""
    if not isinstance(answer, Tensor):
        raise NoLogitsError(
            f"it returns {type(answer).__name__}; it should return one tensor of logits [B,K]"
        )
    if answer.ndim != 2 or len(answer) != rows:
        raise NoLogitsError(
            f"it returns shape {tuple(answer.shape)} for {rows} images; should be ({rows}, "
            f"{classes})"
        )
    return answer
