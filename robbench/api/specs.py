"""Specs of what a caller gives as an object: losses, attacks, models."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from torch import nn

from robbench.attacks.base import AnyAttack
from robbench.catalogue.builtins import ATTACKS, LOSSES, MODELS
from robbench.core.errors import UserError
from robbench.core.objects import name_of, require_file, spec_of
from robbench.core.spec import validate
from robbench.losses.base import Loss
from robbench.models.base import Architecture
from robbench.models.outputs.options import AS_THEY_ARE, OutputOptions

AttackLike: TypeAlias = str | AnyAttack | type[AnyAttack]
Attacks: TypeAlias = AttackLike | Sequence[AttackLike]
"""A spec such as `apgd:steps=50`, a cascade, a TOML file, an attack, its class, or a list."""
LossLike: TypeAlias = str | Loss | type[Loss]
Outputs: TypeAlias = OutputOptions | str | Sequence[int]
"""Which outputs are the classes, `probs` or another form, or every option."""
ModelLike: TypeAlias = str | Architecture | type[Architecture] | Callable[..., nn.Module]


def attack_texts(attack: Attacks) -> list[str]:
    """The specs of attacks."""
    attacks = list(attack) if isinstance(attack, list | tuple) else [attack]
    return [spec_of(ATTACKS, one) for one in attacks]


def loss_text(loss: LossLike | None) -> str | None:
    """The spec of a loss to train with. Raises UserError for one whose code is in no file."""
    return None if loss is None else _in_a_file(LOSSES, loss)


def inner_text(attack: AttackLike | None) -> str | None:
    """The spec of an inner attack, as `loss_text`."""
    return None if attack is None else _in_a_file(ATTACKS, attack)


def model_text(model: ModelLike | None) -> str | None:
    """The spec of a model to train: a registered one, or a class or function that makes it.

    Raises UserError for a module in memory: nothing could make it again for its weights.
    """
    if model is None or isinstance(model, str):
        return model
    if isinstance(model, nn.Module):
        raise UserError(
            f"model {type(model).__qualname__}: training makes its model itself, to load it again "
            "later: give the class or function that makes it, not what it made"
        )
    if isinstance(model, Architecture) or (
        isinstance(model, type) and issubclass(model, Architecture)
    ):
        return _in_a_file(MODELS, model)
    if not hasattr(model, "__qualname__"):
        raise UserError(f"the model is no class and no function but {type(model).__name__}")
    require_file(model, "model")
    if model.__module__ == "__main__":
        raise UserError(
            f"model {model.__qualname__} is in the script that runs, where no later run finds it: "
            "move it to a module of its own, and import it from there"
        )
    return name_of(model, "model")


def output_options(outputs: Outputs | None) -> OutputOptions:
    """How a model's outputs are read. Raises UserError for what no option can hold."""
    if outputs is None:
        return AS_THEY_ARE
    if isinstance(outputs, str):
        outputs = OutputOptions(outputs=outputs)
    elif not isinstance(outputs, OutputOptions):
        outputs = OutputOptions(outputs=",".join(map(str, outputs)))
    given = {field.name: getattr(outputs, field.name) for field in dataclasses.fields(outputs)}
    return validate(OutputOptions, given, "outputs")


def _in_a_file(registry: Any, given: Any) -> str:
    text = spec_of(registry, given)
    if not isinstance(given, str):
        require_file(given if isinstance(given, type) else type(given), registry.kind)
    return text
