"""Private models: `module:factory` or `module:factory:key=value`, where the factory returns any nn.Module."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from robbench.core.errors import RobbenchError, RunError, UserError, nearest
from robbench.data.base import reason
from robbench.models.base import Classifier, Output, last_linear
from robbench.models.heads import build_head


class External(Classifier):
    """A foreign module that maps [0,1] images to logits, with features taken at the input of its last nn.Linear.

    Its state dict is the module's own under `body.`. Features and heads raise UserError when there is no such layer.
    """

    def __init__(self, model: nn.Module, classes: int) -> None:
        found = last_linear(model)
        super().__init__(nn.Identity(), model, nn.Identity(), features=found[1].in_features if found else 0, classes=classes)
        self._head_name = found[0] if found else ""
        if found is not None:
            self._point_head_at(found[1])

    def forward(self, x: Tensor) -> Tensor:
        """[B,K] logits."""
        logits: Tensor = self.body(x)
        return logits

    def features(self, x: Tensor) -> Tensor:
        """[B,D]: what the last nn.Linear reads."""
        return self.output(x).features

    def output(self, x: Tensor) -> Output:
        """Logits and features of one pass."""
        seen: list[Tensor] = []
        # Hooked for this call only: a lasting hook would keep a batch alive and get in the way of copies and compilation.
        handle = self._last_layer().register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            logits: Tensor = self.body(x)
        finally:
            handle.remove()
        if not seen:
            raise UserError(f"the model's last nn.Linear, '{self._head_name}', takes no part in its forward pass: no features")
        return Output(logits, seen[-1].flatten(1))

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
        return self

    def _last_layer(self) -> nn.Module:
        if self.features_dim == 0:
            raise UserError("the model has no nn.Linear, so its features and head are undefined; attacks on logits still work")
        return self.head

    def _point_head_at(self, layer: nn.Module) -> None:
        # Everybody's last layer is `head`, but this one lives in the body: registered here too, it would be saved twice.
        self._modules.pop("head", None)
        object.__setattr__(self, "head", layer)


def call_factory(factory: Any, spec: str, options: Mapping[str, str], classes: int) -> External:
    """Wrap what a factory (or an nn.Module found in its place) gives.

    Option values are JSON where they can be (`width=8`, `deep=true`), else text. Raises UserError when the options do not fit
    the factory or it returns something else, RunError when it raises.
    """
    if isinstance(factory, nn.Module) and not options:
        return External(factory, classes)
    if isinstance(factory, nn.Module) or not callable(factory):
        raise UserError(f"model '{spec}': not a callable that returns an nn.Module but {type(factory).__name__}")
    values = {key: _value(text) for key, text in options.items()}
    _check_options(factory, spec, values)
    try:
        model = factory(**values)
    except RobbenchError:
        raise
    except Exception as error:
        raise RunError(f"model '{spec}': its factory raised {reason(error)}") from error
    if not isinstance(model, nn.Module):
        raise UserError(f"model '{spec}': its factory should return an nn.Module, not {type(model).__name__}")
    return External(model, classes)


def _check_options(factory: Any, spec: str, values: Mapping[str, Any]) -> None:
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):  # some callables of C extensions have none
        return
    try:
        signature.bind(**values)
    except TypeError as error:
        names = list(signature.parameters)
        strange = next((key for key in values if key not in names), None)
        text = f"unknown option '{strange}'" + (nearest(strange, names) or "; it has none") if strange else str(error)
        raise UserError(f"model '{spec}': {text}") from None


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return {"True": True, "False": False, "None": None}.get(text, text)
