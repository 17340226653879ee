"""Which model a user means, and the samples it is to be attacked on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from robbench.catalogue.builtins import MODELS
from robbench.core.code import private_code
from robbench.core.errors import UserError
from robbench.core.freeze import frozen
from robbench.core.registry import code_of
from robbench.core.spec import short_hash
from robbench.core.trust import names_from
from robbench.data.base import DataInfo, Split, class_difference, require_classes
from robbench.data.load import load
from robbench.engine.flags import Flag, notes
from robbench.models.base import Classifier, Usual, interface_of
from robbench.models.create import check_logits, create
from robbench.models.external import External
from robbench.models.fingerprint import output_fingerprint
from robbench.models.function import Function
from robbench.models.outputs.options import AS_THEY_ARE, OutputOptions, Reading
from robbench.models.state import State, state_of
from robbench.store.find import STOPPED_EARLY
from robbench.store.run import from_memory
from robbench.store.store import Store
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.codes import (
    canonical_model,
    code_roots,
    data_code,
    data_roots,
    model_code,
    without_class_names,
)
from robbench.tasks.model_folder import read_model
from robbench.tasks.model_names import find_folder, require_known
from robbench.tasks.remarks import of_model, of_samples
from robbench.tasks.saved_classes import fit_classes


class Subject(NamedTuple):
    """A model to attack and what is known about it."""

    name: str  # as it was given
    label: str  # that results are filed under: of a folder its last part, of a spec its label
    model: Classifier
    split: Split
    arch: str
    hash: str  # of its state and its private code
    trained: dict[str, Any]  # config.json of a trained model, else empty
    answers: str  # to a few inputs: see `store/answers.py`
    codes: tuple[str, ...]  # versions of the code of the model's architecture and of its data
    modules: tuple[str, ...]  # that this code begins with
    remarks: tuple[Flag, ...] = ()  # what is unusual about both, before the model is asked anything
    threat: str | None = None  # its usual one, where it has one of its own

    @property
    def width(self) -> int:
        """Number of the model's logits."""
        return len(self.split.classes) + self.model.interface.outside

    @property
    def rejects(self) -> bool:
        """Whether the model may refuse to name a class."""
        return self.model.interface.reject

    @property
    def outputs(self) -> str:
        """How the outputs of the model are read, empty where that is a matter of course."""
        return self.model.interface.text

    @property
    def source(self) -> str:
        """What leads a later command to the model."""
        return self.label if self.trained else self.name


def find_subject(
    text: str,
    config: AttackConfig,
    store: Store,
    device: torch.device,
    data_dir: Path | None,
    download: bool,
) -> tuple[Subject, str]:
    """The model of a text: a name in the store (`name@last`), a saved folder or a spec."""
    folder, which = find_folder(text, store)
    if folder is not None:
        model, trained = read_model(folder, which, device)
        data = config.data or trained["config"]["data"]
    else:
        require_known(text, store)
        model, trained, data = None, {}, config.data or _usual(text).data or "digits"
    with names_from(folder / "config.json") if folder and not config.data else nullcontext():
        split = load(
            data, config.split, data_dir=data_dir, limit=config.limit, download=download
        ).to(device)
    require_classes(split)
    if model is None:
        torch.manual_seed(config.seed)  # an untrained architecture is a valid, if poor, subject
        model = create(text, info_without_statistics(split), of=split.whole, download=download)
        model = model.to(device)
        _check_known_classes(text, split)
    elif list(split.images.shape[1:]) != trained["shape"]:
        raise UserError(
            f"model {text} takes images of shape {trained['shape']}, data '{data}' has "
            f"{list(split.images.shape[1:])}"
        )
    spelled: list[Flag] = []
    if trained:
        names = f"model {text}", f"data '{data}'"
        model, spelled = fit_classes(model, trained["classes"], split, names)
    before = state_of(model)
    answers = _answers(model, split)
    arch = canonical_model(trained.get("model", text))
    state = state_of(model)
    remarks = [*of_model(text, model, trained, arch, state), *spelled, *of_samples(split)]
    return Subject(
        name=text,
        label=Path(text).name if trained else _label(text),
        model=model,
        split=split,
        arch=arch,
        hash=_hash(model, state, before, code_roots(arch)),
        trained=trained,
        answers=answers,
        codes=(model_code(arch), data_code(data)),
        modules=(*code_roots(arch), *sorted(state.modules), *data_roots(data)),
        remarks=tuple(remarks),
        threat=None if trained else _usual(text).threat,
    ), data


def info_without_statistics(split: Split) -> DataInfo:
    """What a model made from a spec is told of a split: the same mean and std for all data.

    An untrained model must not depend on the samples it is judged by, and these are not read.
    """
    shape = tuple(split.images.shape[1:])
    mean, std = ((value,) * shape[0] for value in (0.5, 0.25))
    return DataInfo(shape, split.classes, mean, std, split.units)


def subject_in_memory(
    model: nn.Module,
    split: Split,
    name: str,
    data: str | None,
    options: OutputOptions = AS_THEY_ARE,
) -> Subject:
    """A module at hand as the subject `name`; `data`: the spec that its samples come from, if any.

    options: how its outputs are read.

    It is asked as a private factory's model is: what maps images in [0,1] to logits, in whatever
    form `models/outputs/interface.py` knows. Raises UserError where it does not fit the samples.
    """
    require_classes(split)
    kind = model.function if isinstance(model, Function) else type(model)
    module, kind_name = (getattr(kind, key, "") or "" for key in ("__module__", "__qualname__"))
    wrapped: Classifier = (
        model
        if isinstance(model, Classifier) and options == AS_THEY_ARE
        else External(model, len(split.classes), Reading(options, split.classes))
    )
    x = split.pixels(slice(0, 2))
    if isinstance(wrapped, External):
        names = split.whole or split.classes
        chosen = [names.index(name) for name in split.classes]
        wrapped.take_units(split.units, x.device)
        with frozen(wrapped):
            wrapped.fit_interface(torch.cat([x, x])[:2], {len(names): chosen})
    before = state_of(wrapped)
    answers = _answers(wrapped, split)
    state = state_of(wrapped)
    return Subject(
        name=name,
        label=name,
        model=wrapped,
        split=split,
        arch=f"{module}:{kind_name}",
        hash=_hash(wrapped, state, before, [module]),
        trained={},
        answers=answers,
        codes=(
            code_of(state.modules, module, None),
            data_code(data) if data else "memory",
        ),
        modules=(module, *sorted(state.modules), *(data_roots(data) if data else ())),
        remarks=(
            *notes("interface", wrapped.notes),
            *of_samples(split),
        ),
    )


def _label(spec: str) -> str:
    spec = without_class_names(spec)
    return MODELS.build(spec).label(spec) if MODELS.registers(spec) else spec


def _usual(spec: str) -> Usual:
    return MODELS.build(spec).usual if MODELS.registers(spec) else Usual()


def _answers(model: nn.Module, split: Split) -> str:
    """What the model answers to a few inputs. Raises UserError where these are no logits."""
    with frozen(model):
        check_logits(model, split.pixels(slice(0, 8)), len(split.classes))
        return output_fingerprint(model, split)


def not_found(info: Mapping[str, Any], model: str | None, why: UserError) -> UserError:
    """That the model of a run, or its data, are not there, and what to do; model: as `--model`."""
    run = f"run {info['run_id']}"
    if model:
        return UserError(f"{run}: {why}")
    if from_memory(info):
        return UserError(
            f"{run}: its model was in memory, where no command finds it (in Python, result.check() "
            "checks it, and result.save() keeps what that found)"
        )
    return UserError(f"{run}: {why}; if the model was moved, give its place with --model")


def of_run(subject: Subject, info: dict[str, Any], ids: list[int]) -> Subject:
    """The subject on the samples of a run, which may be only some.

    A gate ends early; a target leaves out the samples that are of it.
    """
    if info["status"] != STOPPED_EARLY and info["target"] is None:
        return subject
    held = torch.isin(subject.split.ids, torch.tensor(ids, device=subject.split.ids.device))
    return subject._replace(split=subject.split.take(held.nonzero().flatten()))


def _hash(model: nn.Module, state: State, before: State, roots: Iterable[str]) -> str:
    """16 hexadecimal digits that name the model: its state, but for what a forward pass writes.

    And its private code, which begins at the modules `roots`, and how its outputs are read.
    """
    weights, code = state.hash(before), private_code([*roots, *state.modules])
    read = interface_of(model).identity
    return short_hash([weights, code, *([read] if read else [])], 16) if code or read else weights


def _check_known_classes(text: str, split: Split) -> None:
    """Pretrained weights know their classes.

    a data set with other names would give a meaningless number.
    """
    known = MODELS.build(text).classes_of() if MODELS.registers(text) else ()
    named = not all(label.isdecimal() for label in split.classes)
    if known and named and tuple(split.classes) != tuple(known):
        apart = class_difference(known, split.classes, (f"model {text}", f"data '{split.name}'"))
        raise UserError(f"model {text} knows other classes: {apart}")
