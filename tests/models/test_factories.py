"""What `module:factory` may name: models, their classes, and functions of their own module."""

from __future__ import annotations

import functools
import os
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from robbench.core.errors import UserError
from robbench.models.factories import require_factory


class Net(nn.Linear):
    """A model class of this module."""

    @classmethod
    def small(cls) -> Net:
        return cls(2, 2)


def make() -> nn.Module:
    return Net(2, 2)


@functools.wraps(make)
def wrapped() -> nn.Module:
    return make()


class Config:
    """No model."""

    def __call__(self) -> nn.Module:
        return make()


HERE = make.__module__


@pytest.mark.parametrize(
    "found",
    [make, wrapped, Net, Net.small, Net(2, 2), functools.partial(make), functools.partial(Net, 2)],
)
def test_own_functions_classes_and_models(found: Any) -> None:
    """Wrapped or partial too."""
    require_factory(found, f"{HERE}:it", "model 'x'")


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Config, "is the class Config"),
        (Config(), "is an object of Config"),
        (3, "is not a callable but int"),
        ("model", "is not a callable but str"),
        (dict, "is the class dict"),
        (len, "is an object of builtin_function_or_method"),
    ],
)
def test_what_is_no_factory_is_named(found: Any, words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        require_factory(found, f"{HERE}:it", "model 'x'")
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("model 'x': ")


@pytest.mark.parametrize("found", [os.makedirs, functools.partial(os.makedirs, "x")])
def test_what_a_module_merely_imports_is_not_called(found: Any) -> None:
    """`from os import makedirs` does not make it a factory of that module."""
    with pytest.raises(UserError, match="is defined in os"):
        require_factory(found, f"{HERE}:makedirs", "model 'x'")


def test_a_partial_of_another_package_belongs_to_where_it_is_made() -> None:
    """nn.Linear with its sizes is a model of this module; nn.Linear alone is torch's."""
    require_factory(functools.partial(nn.Linear, 2, 2), f"{HERE}:it", "model 'x'")
    require_factory(nn.Linear, "torch.nn:Linear", "model 'x'")
    with pytest.raises(UserError, match=r"write torch\.nn\.modules\.linear:Linear"):
        require_factory(nn.Linear, f"{HERE}:Linear", "model 'x'")


@pytest.mark.parametrize(
    ("found", "target"), [(torch.load, "torch:load"), (np.genfromtxt, "numpy:genfromtxt")]
)
def test_loaders_are_refused_under_their_own_name(found: Any, target: str) -> None:
    """What they read may be code."""
    with pytest.raises(UserError, match="may run what they load"):
        require_factory(found, target, "model 'x'")


def test_a_function_that_wraps_itself_is_refused() -> None:
    """One line instead of what `inspect` raises; also inside a partial."""

    def circle() -> nn.Module:
        return make()

    circle.__wrapped__ = circle  # type: ignore[attr-defined]
    for found in (circle, functools.partial(circle)):
        with pytest.raises(UserError, match="nets:circle leads back to itself by __wrapped__"):
            require_factory(found, "nets:circle", "model 'nets:circle'")
