"""Look at a model before attacking it."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from robbench.analysis.inspected import Inspected
from robbench.api.evaluate import (
    Model,
    class_names,
    module_name,
    named_classes,
    require_named_alone,
)
from robbench.api.runs import given
from robbench.api.specs import Attacks, Outputs, attack_texts, output_options
from robbench.api.wording import in_python, pythonic
from robbench.core.device import placed
from robbench.core.errors import UserError
from robbench.core.spec import validate
from robbench.data.base import Split
from robbench.data.load import load
from robbench.data.memory import Images, Samples, read_samples
from robbench.models.estimator import as_module
from robbench.models.external import count_classes
from robbench.models.outputs.options import OutputOptions
from robbench.reports.terminal.inspected import finding_text, lines, title
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.inspect.run import inspect_model, inspect_named, parse_shape
from robbench.tasks.inspect.target import target_alone, target_in_memory


class Inspection(Inspected):
    """What was found; printed, it is the table of `robbench inspect`."""

    def __repr__(self) -> str:
        known = [f"  {label + ':':<16}{text}" for label, text in self._lines()]
        return "\n".join([title(self), *known, *(f"  {text}" for text in self._notes())])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(label)}</th>"
            f"<td style='text-align:left'>{html.escape(text)}</td></tr>"
            for label, text in [*self._lines(), *(("", text) for text in self._notes())]
        )
        return f"<table><caption>{html.escape(title(self))}</caption>{rows}</table>"

    def _lines(self) -> list[tuple[str, str]]:
        return [(label, in_python(text)) for label, text in lines(self)]

    def _notes(self) -> list[str]:
        return [in_python(finding_text(finding)) for finding in self.findings]


@pythonic
def inspect(
    model: Model | str,
    images: Images | str | None = None,
    labels: Any = None,
    threat: str | None = None,
    attack: Attacks = (),
    *,
    classes: int | Sequence[str] | None = None,
    outputs: Outputs | None = None,
    shape: Sequence[int] | str | None = None,
    name: str | None = None,
    split: str = "test",
    limit: int | str | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    device: str | None = None,
    out: Path | str = "runs",
    data_dir: Path | str | None = None,
    download: bool = False,
) -> Inspection:
    """Look at a model before attacking it, as `robbench inspect` does; nothing is written.

    model: a module or function as of `evaluate`, or a name, folder or spec as of `attack`. images,
    labels: samples as of `evaluate`, or the name of a data set; without them a saved model has its
    own, and any other is asked about images of noise, of `shape` (C,H,W) or of one it takes.
    outputs: how the model's outputs are read, as of `evaluate`.
    attack, threat, limit, batch_size: what the cost is forecast of.
    Returns what was found: `.clean_accuracy`, `.normalisation`, `.seconds_forward`, `.forecast`,
    `.findings` (name, severity, text, remedy, figures); `.failed` where one is an error.
    Raises UserError for samples, attacks and names that are none; what is wrong about the model is
    a finding.
    """
    size = None if shape is None else _size(shape)
    folder = None if data_dir is None else Path(data_dir)
    settings = given(
        attack=attack_texts(attack),
        threat=None if threat is None else [threat],
        data=images if isinstance(images, str) else None,
        split=split,
        limit=limit,
        seed=seed,
        batch_size=batch_size,
    )
    where: dict[str, Any] = {"out": Path(out), "data_dir": folder, "download": download}
    options = output_options(outputs)
    if isinstance(model, str):
        if outputs is not None:
            raise UserError("outputs is for a model in memory: a spec says it, NAME:outputs=...")
        if images is not None and not isinstance(images, str):
            raise UserError("a model by its name takes the name of a data set: images is no text")
        for word, value in (("labels", labels), ("classes", classes), ("name", name)):
            if value is not None:
                raise UserError(f"{word} is for a model in memory: leave it out, or give the model")
        return _inspection(
            inspect_named(model, settings, shape=size, device=device or "auto", **where)
        )
    config, module = validate(AttackConfig, settings, "inspect"), as_module(model)
    with placed(module, device) as device_found:
        label = name or module_name(module)
        if images is None:
            if labels is not None:
                raise UserError("labels are of images, which are missing: give both or neither")
            names = () if classes is None else named_classes(classes)
            parsed = None if size is None else parse_shape(size)
            target = target_alone(module, label, parsed, names, device_found, options)
        else:
            if size is not None:
                raise UserError("shape is for a model without images: leave out shape or images")
            samples = _samples(module, images, labels, classes, config, folder, download, options)
            data = images if isinstance(images, str) else "memory"
            target = target_in_memory(module, samples.to(device_found), label, data, options)
        return _inspection(inspect_model(target, config, **where))


def _size(shape: Sequence[int] | str) -> str:
    """As the command line has it. A number is left to who reads the text."""
    return "x".join(map(str, shape)) if isinstance(shape, list | tuple) else str(shape)


def _inspection(found: Inspected) -> Inspection:
    return Inspection(**{f.name: getattr(found, f.name) for f in dataclasses.fields(found)})


def _samples(
    module: nn.Module,
    images: Any,
    labels: Any,
    classes: int | Sequence[str] | None,
    config: AttackConfig,
    folder: Path | None,
    download: bool,
    options: OutputOptions,
) -> Split:
    if isinstance(images, str):
        require_named_alone(images, labels, classes)
        return load(images, config.split, data_dir=folder, limit=config.limit, download=download)
    found = read_samples(images, labels)
    names = class_names(classes, found, lambda: options.count(_count(module, found)))
    return found.split(names, split=config.split, limit=config.limit)


def _count(module: nn.Module, samples: Samples) -> int:
    """How many classes there are: as many as the model has outputs, or as the labels say."""
    labelled = samples.count()
    x = samples.split(["0"] * labelled).pixels(slice(0, 1))
    weight = next(module.parameters(), x)
    try:
        return count_classes(module, torch.cat([x, x]).to(weight.device))
    except UserError:  # it does not take these images, which is a finding
        return labelled
