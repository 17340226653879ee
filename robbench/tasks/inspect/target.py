"""The model that is inspected, also where attacks refuse it, and the samples it is asked about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from robbench.catalogue.builtins import MODELS
from robbench.core.errors import UserError
from robbench.data.base import DataInfo, Split, require_classes, sample_ids
from robbench.data.load import load
from robbench.models.base import Architecture, Classifier
from robbench.models.create import UnfitError, create
from robbench.models.external import External, count_classes
from robbench.models.foreign import Foreign, Loading
from robbench.models.input_shapes import Shape, shapes_taken
from robbench.models.output_options import AS_THEY_ARE, OutputOptions
from robbench.store.store import Store
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.model_folder import find_folder
from robbench.tasks.subject import Subject, find_subject, subject_in_memory

NOISE = 64  # images of noise where there are no samples
LIKELY: tuple[Shape, ...] = ((3, 224, 224), (3, 32, 32), (1, 28, 28))
"""Shapes of the data that pretrained models are for."""


class Target(NamedTuple):
    """A model and samples. data: None where they are noise. refusal: why attacks refuse it."""

    subject: Subject
    data: str | None
    refusal: str = ""


def named_target(
    text: str,
    config: AttackConfig,
    shape: Shape | None,
    *,
    store: Store,
    device: torch.device,
    data_dir: Path | None = None,
    download: bool = False,
) -> Target:
    """The model of a text, as `robbench attack` has it.

    Without data a saved model has its own, an architecture without weights takes the digits, and
    any other is looked at with noise of `shape`, or of a shape it takes. Raises UserError for what
    is no model, and for data that are not there.
    """
    if config.data is None and (shape is not None or not _knows_data(text, store)):
        return _without_data(text, config, shape, device, download)
    try:
        subject, data = find_subject(text, config, store, device, data_dir, download)
    except UnfitError as refused:
        data = config.data or "digits"
        split = load(data, config.split, data_dir=data_dir, limit=config.limit, download=download)
        model = refused.model.to(device)
        return Target(_refused(text, model, split.to(device)), data, str(refused))
    return Target(subject, data)


def target_in_memory(
    model: nn.Module,
    split: Split,
    name: str,
    data: str,
    options: OutputOptions = AS_THEY_ARE,
) -> Target:
    """A module at hand and the samples it is to be attacked on; data: their spec, or `memory`."""
    require_classes(split)
    wrapped = model if isinstance(model, Classifier) else External(model, len(split.classes))
    try:
        spec = None if data == "memory" else data
        return Target(subject_in_memory(model, split, name, spec, options), data)
    except UserError as refused:
        if isinstance(wrapped, External):
            wrapped.take_units(split.units, split.labels.device)
        return Target(_refused(name, wrapped, split), data, str(refused))


def target_alone(
    model: nn.Module,
    name: str,
    shape: Shape | None,
    classes: Sequence[str],
    device: torch.device,
    options: OutputOptions = AS_THEY_ARE,
) -> Target:
    """A module without samples, looked at with noise of `shape`, or of a shape it takes.

    classes: () if unknown. Raises UserError where it takes none of the shapes tried.
    """
    body = model.body if isinstance(model, External) else model
    if shape is None:
        found = shapes_taken(body, most=1)
        if not found:
            raise UserError(
                f"model '{name}' takes none of the usual shapes of images: give --shape, such as "
                "3x224x224, or --data"
            )
        shape = found[0]
    if not classes:
        x = noise(shape, ["0"]).pixels(slice(0, 2)).to(device)
        classes = [str(n) for n in range(count_classes(body, x))]
    if isinstance(model, External):  # built for another number of classes
        model = External(body, len(classes), model.reading._replace(names=tuple(classes)))
    target = target_in_memory(model, noise(shape, classes).to(device), name, "memory", options)
    return target._replace(data=None)


def noise(shape: Shape, classes: Sequence[str]) -> Split:
    """Images of noise in [0,1], the same at every call, with labels in turn."""
    images = np.random.default_rng(0).random((NOISE, *shape), np.float32)
    labels = np.arange(NOISE) % len(classes)
    return Split(
        images=torch.from_numpy(images),
        labels=torch.from_numpy(labels),
        ids=torch.from_numpy(sample_ids(images, labels)),
        classes=tuple(classes),
        name="noise",
        split="none",
        whole=tuple(classes),
    )


def _knows_data(text: str, store: Store) -> bool:
    """Whether a text is a saved model, or an architecture that takes any data."""
    if find_folder(text, store)[0] is not None:
        return True
    if ":" not in text and text not in MODELS.entries:
        return True  # no model at all, which is for `find_subject` to say
    architecture = _architecture(text)
    return architecture is not None and not architecture.pretrained


def _architecture(text: str) -> Architecture | None:
    registered = text.partition(":")[0] in MODELS.entries
    return MODELS.build(text) if registered else None


def _without_data(
    text: str, config: AttackConfig, shape: Shape | None, device: torch.device, download: bool
) -> Target:
    architecture = _architecture(text)
    classes = () if architecture is None else architecture.classes_of()
    if isinstance(architecture, Foreign):
        asked = shape or LIKELY[0]
        loaded = architecture.load(Loading(_info(asked, classes), download=download, judged=True))
        classes = classes or loaded.labels
        if shape is None and loaded.size:
            shape = (len(loaded.mean or "RGB"), *loaded.size)
    model, only = _built(text, config, [shape] if shape else LIKELY, classes, download)
    return target_alone(model.to(device), text, shape or only, classes, device)


def _built(
    text: str, config: AttackConfig, shapes: Sequence[Shape], classes: Sequence[str], download: bool
) -> tuple[nn.Module, Shape | None]:
    """A model for the first of some shapes for which it can be built, fitting or not.

    And that shape, where it is refused for those before.
    """
    refusal: UserError | None = None
    for shape in shapes:
        torch.manual_seed(config.seed)
        try:
            model = create(text, _info(shape, classes), of=classes or None, download=download)
        except UnfitError as refused:  # it is looked at all the same
            model = refused.model
        except UserError as refused:
            refusal = refusal or refused
            continue
        return model, shape if refusal else None
    assert refusal is not None
    raise refusal


def _info(shape: Shape, classes: Sequence[str]) -> DataInfo:
    channels = shape[0]
    names = tuple(classes) or ("0", "1")
    return DataInfo(shape, names, (0.5,) * channels, (0.25,) * channels)


def _refused(name: str, model: nn.Module, split: Split) -> Subject:
    """The subject of a model that attacks refuse, of which neither hash nor answers are asked."""
    return Subject(
        name=name,
        label=name,
        model=model,
        split=split,
        arch=name,
        hash="",
        trained={},
        answers="",
        codes=(),
        modules=(),
    )
