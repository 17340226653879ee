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
from robbench.models.base import Architecture, Classifier, Loading
from robbench.models.create import UnfitError, create
from robbench.models.external import External, NoLogitsError, count_classes
from robbench.models.input_shapes import Shape, shapes_taken
from robbench.models.outputs.options import AS_THEY_ARE, OutputOptions
from robbench.models.sources.base import Source
from robbench.models.sources.program_file import ProgramShapeError
from robbench.models.state import state_of
from robbench.store.store import Store
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.model_names import find_folder
from robbench.tasks.remarks import of_model
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
        architecture = _architecture(text)
        usual = None if architecture is None else architecture.usual.data
        data = config.data or usual or "digits"
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
    shape = shape or _shape_of(model, name)
    names = classes or _numbered(model, shape, device)
    target = target_in_memory(model, noise(shape, names).to(device), name, "memory", options)
    return target._replace(data=None)


def _shape_of(model: nn.Module, name: str) -> Shape:
    found = shapes_taken(model, most=1)
    if not found:
        raise UserError(
            f"model '{name}' takes none of the usual shapes of images: give --shape, such as "
            "3x224x224, or --data"
        )
    return found[0]


def _numbered(model: nn.Module, shape: Shape, device: torch.device) -> tuple[str, ...]:
    """As many class names as a model tells classes apart."""
    x = noise(shape, ["0"]).pixels(slice(0, 2)).to(device)
    try:
        count = count_classes(model, x)
    except NoLogitsError:  # which is a finding
        count = 2
    return tuple(map(str, range(count)))


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
    """Whether a text is a saved model, one that says its data, or one that takes any."""
    if find_folder(text, store)[0] is not None:
        return True
    if ":" not in text and text not in MODELS.entries:
        return True  # no model at all, which is for `find_subject` to say
    architecture = _architecture(text)
    if architecture is None or architecture.usual.data is not None:
        return architecture is not None
    # One of another source is for images of its own also where its weights are random.
    return not architecture.pretrained and not isinstance(architecture, Source)


def _architecture(text: str) -> Architecture | None:
    return MODELS.build(text) if MODELS.registers(text) else None


def _without_data(
    text: str, config: AttackConfig, shape: Shape | None, device: torch.device, download: bool
) -> Target:
    architecture = _architecture(text)
    classes = () if architecture is None else architecture.classes_of()
    if isinstance(architecture, Source):
        shape, labels = _declared(architecture, shape, classes, download)
        classes = classes or labels

    def build(shapes: Sequence[Shape], classes: Sequence[str]) -> Target:
        """The model for noise of the first of some shapes for which it can be built."""
        for n, shape in enumerate(shapes):
            torch.manual_seed(config.seed)
            try:
                model = create(text, _info(shape, classes), of=classes or None, download=download)
            except UnfitError as refused:
                split = noise(shape, classes or ("0", "1")).to(device)
                model = refused.model.to(device)
                return Target(_refused(text, model, split), None, str(refused))
            except UserError:
                if n == len(shapes) - 1:
                    raise
                continue
            found = target_alone(model.to(device), text, shape, classes or ("0", "1"), device)
            remarks = of_model(text, model, {}, text, state_of(model))
            return found._replace(subject=found.subject._replace(remarks=tuple(remarks)))
        raise AssertionError("there is a last shape")

    found = build([shape] if shape else LIKELY, classes)
    if found.refusal and not (shape and classes):
        # It was built for two classes or for images of one of the usual shapes; now for its own.
        model = found.subject.model
        shape = shape or _shape_of(model, text)
        classes = classes or _numbered(model, shape, device)
        found = build([shape], classes)
    return found


def _declared(
    architecture: Source, shape: Shape | None, classes: Sequence[str], download: bool
) -> tuple[Shape | None, tuple[str, ...]]:
    """The shape and classes that a source says its model is for, where it does."""
    info = _info(shape or LIKELY[0], classes)
    try:
        loaded = architecture.load(Loading(info, download=download, judged=True))
    except ProgramShapeError as refused:
        if shape is not None or None in refused.shape:
            raise
        return tuple(size for size in refused.shape if size is not None), ()
    except UserError as refused:
        if "does not fit" not in str(refused):
            raise
        text = "x".join(map(str, info.shape))
        raise UserError(
            f"{refused} (images {text} of {len(info.classes)} classes were assumed: give --data)"
        ) from refused
    if shape is None and loaded.size:
        shape = (len(loaded.mean or "RGB"), *loaded.size)
    return shape, loaded.labels


def _info(shape: Shape, classes: Sequence[str]) -> DataInfo:
    channels = shape[0]
    names = tuple(classes) or ("0", "1")
    return DataInfo(shape, names, (0.5,) * channels, (0.25,) * channels)


def _refused(name: str, model: Classifier, split: Split) -> Subject:
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
