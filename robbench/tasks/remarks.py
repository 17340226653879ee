"""What is unusual about a model and its samples, before the model is asked anything: flags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robbench.catalogue.builtins import MODELS
from robbench.data.base import Split
from robbench.engine.flags import Flag, notes
from robbench.models.base import Classifier
from robbench.models.state import State
from robbench.tasks.codes import model_code


def of_samples(split: Split) -> list[Flag]:
    """On the samples alone: one class of them, or fixed entries."""
    return [*_one_class(split), *_fixed(split)]


def _one_class(split: Split) -> list[Flag]:
    if bool((split.labels != split.labels[0]).any()):
        return []
    return notes("one-class", [split.classes[int(split.labels[0])]])


def _fixed(split: Split) -> list[Flag]:
    if split.free is None:
        return []
    return notes("fixed", [f"{int((~split.free).sum())} of {split.free.numel()}"])


def of_model(
    text: str, model: Classifier, trained: Mapping[str, Any], arch: str, state: State
) -> list[Flag]:
    """On the model of a text: how it is called, its training, its code.

    trained: the config of a saved one, else empty.
    """
    found = [*notes("loaded", model.loaded), *notes("interface", model.notes)]
    if not trained and MODELS.registers(text) and not MODELS.build(text).pretrained:
        found += notes("untrained", [text])
    return [*found, *_changed_code(arch, state, trained)]


def _changed_code(arch: str, state: State, trained: Mapping[str, Any]) -> list[Flag]:
    """A flag where a trained model's code, private or of a package, has changed."""
    before = (trained.get("code") or {}).get("model")
    now = model_code(arch, () if MODELS.registers(arch) else state.modules)
    return (
        []
        if before in (None, now) or now.startswith("robbench ")
        else notes("code-changed", [arch])
    )
