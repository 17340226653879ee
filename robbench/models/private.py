"""Private models: `module:factory[:key=value]`, where the factory returns any nn.Module."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from robbench.core.errors import RobbenchError, UserError
from robbench.core.factories import option_values, takes
from robbench.core.guest import guest_code
from robbench.core.spec import option_names, validate
from robbench.data.base import reason
from robbench.models.estimator import as_module
from robbench.models.external import External
from robbench.models.outputs.options import OutputOptions, Reading


def call_factory(
    factory: Any, spec: str, options: Mapping[str, str], classes: Sequence[str]
) -> External:
    """Wrap what a factory (or an nn.Module found in its place) gives, for the data's classes.

    Option values are JSON where they can be (`width=8`, `deep=true`), else text. Those of
    `OutputOptions` are ours, unless the factory has one of that name. Raises UserError when the
    options do not fit the factory, it raises, or it returns something else.
    """
    ours = {key: options[key] for key in our_options(factory, options)}
    options = {key: text for key, text in options.items() if key not in ours}
    reading = Reading(validate(OutputOptions, ours, f"model '{spec}'"), tuple(classes))
    if isinstance(factory, nn.Module) and not options:
        return External(factory, len(classes), reading)
    if isinstance(factory, nn.Module) or not callable(factory):
        raise UserError(
            f"model '{spec}': not a callable that returns an nn.Module but {type(factory).__name__}"
        )
    values = option_values(factory, f"model '{spec}'", options)
    try:
        with guest_code(f"model '{spec}': its factory", spec.partition(":")[0]):
            model = factory(**values)
    except RobbenchError:
        raise
    except Exception as error:
        raise UserError(f"model '{spec}': its factory raised {reason(error)}") from error
    try:
        return External(as_module(model), len(classes), reading)
    except UserError:
        raise UserError(
            f"model '{spec}': its factory should return an nn.Module, a function or an estimator, "
            f"not {type(model).__name__}"
        ) from None


def our_options(factory: Any, names: Iterable[str]) -> list[str]:
    """Which options of a factory say how its model's outputs are read."""
    known = [name for name in option_names(OutputOptions) if name in names]
    return [name for name in known if isinstance(factory, nn.Module) or not takes(factory, name)]
