"""Hashes of the code that a run rests on, and of what a private factory builds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch

from robbench.catalogue.builtins import DATA, MODELS
from robbench.core.code import module_of
from robbench.core.imports import import_target
from robbench.core.registry import code_of
from robbench.core.spec import Spec, parse_spec
from robbench.data.base import DataInfo
from robbench.data.private import private_factory
from robbench.data.subset import split_subsets
from robbench.models.create import create
from robbench.models.outputs.options import OutputOptions
from robbench.models.private import our_options
from robbench.models.state import state_of


def canonical_model(text: str) -> str:
    """A model spec with every option spelled out, but for the places of weights.

    Private factories stay as they were written, but for a file of class names.
    """
    if not _registered(text):
        return without_class_names(text)
    bases = MODELS.parse(text)[0].__mro__
    places = {place for base in bases for place in vars(base).get("places", ())}
    return MODELS.canonical(text, full=True, without=places)


def without_class_names(text: str) -> str:
    """A model spec without the option that names the classes of outputs: what was found counts."""
    if "classes=" not in text:
        return text
    if _registered(text):
        spec = parse_spec(text)
        ours = issubclass(MODELS.parse(text)[0], OutputOptions)
    else:
        name, _, rest = text.partition(":")
        attribute, _, options = rest.partition(":")
        found = import_target(f"{name}:{attribute}", f"model '{text}'")
        spec = parse_spec(f"{attribute}:{options}" if options else attribute)
        ours = "classes" in our_options(found, spec.options)
        spec = Spec(f"{name}:{attribute}", spec.argument, spec.options)
    kept = {key: value for key, value in spec.options.items() if key != "classes"}
    return str(Spec(spec.name, spec.argument, kept)) if ours else text


def code_roots(model: str) -> list[str]:
    """The modules of a model spec: of its registered class, or of its private factory."""
    if _registered(model):
        return [MODELS.parse(model)[0].__module__]
    name, _, rest = model.partition(":")
    found = import_target(f"{name}:{rest.partition(':')[0]}", f"model '{model}'")
    return [name, module_of(found)]


def model_code(text: str, modules: Iterable[str] = ()) -> str:
    """As `Registry.code`, also for private factories, which are no registered classes.

    `modules` are those of what it built.
    """
    return code_of([*code_roots(text), *modules], text, MODELS.entries.get(text.partition(":")[0]))


def data_code(text: str) -> str:
    """As `Registry.code`, of a data spec; what is not registered is a folder of Parquet files."""
    base = _data_class(text)
    if private_factory(base):
        return code_of(data_roots(text), base, None)
    return DATA.code(base)


def data_roots(text: str) -> list[str]:
    """The modules of a data spec: of its class, or of its private function."""
    base = _data_class(text)
    if factory := private_factory(base):
        named = factory.target.partition(":")[0]
        return [named, module_of(factory.found) or named]
    return [DATA.parse(base)[0].__module__]


def _data_class(text: str) -> str:
    base, _ = split_subsets(text)
    return base if ":" in base or base in DATA.entries else "parquet"


class Built(NamedTuple):
    """What a private factory builds: its classes' modules, a hash of what no seed changes."""

    modules: frozenset[str]
    given: str | None


def built(model: str, info: DataInfo, seed: int, *, download: bool = False) -> Built:
    """Build a model from two seeds: what they have in common identifies the model.

    What differs is random, the rest was loaded or set. A registered model without weights of its
    own is not built: its package's version identifies it. torch's generator is left as it was.
    """
    if _registered(model) and not MODELS.build(model).pretrained:
        return Built(frozenset(), None)
    states = []
    with torch.random.fork_rng(devices=[]):
        for n in (seed, seed + 1):
            torch.manual_seed(n)
            states.append(state_of(create(model, info, download=download)))
    return Built(states[0].modules, states[0].hash(states[1]))


def _registered(model: str) -> bool:
    return MODELS.registers(model) or ":" not in model
