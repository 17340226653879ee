"""A module filled from the weights of other code: found in a file, renamed, and compared by shape.

Nothing is filled unless every weight of the module has its partner, and none is left over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from robbench.core.errors import UserError
from robbench.data.base import reason
from robbench.models.sources.state_dicts import (
    Fit,
    Layout,
    Statistics,
    fits_of,
    sets_in,
    statistics_of,
)
from robbench.models.sources.weight_files import read_weight_file


class WrongClassesError(UserError):
    """All weights fit but those of the last layer, which is for `classes` classes."""

    def __init__(self, text: str, classes: int) -> None:
        super().__init__(text)
        self.classes = classes


class Filled(NamedTuple):
    """The normalisation and the layout found in a file, and sentences for the user."""

    statistics: Statistics | None
    layout: Layout
    notes: tuple[str, ...]


def fill(
    module: nn.Module,
    path: Path,
    what: str,
    *,
    channels: int,
    key: str | None = None,
    prefix: str | None = None,
    layouts: Sequence[Layout] = (),
    normalised: bool = False,
    hint: Callable[[Mapping[str, Tensor]], str] = lambda tensors: "",
) -> Filled:
    """Fill a module's weights from a file (`weight_files.py`).

    what: the module's name, in errors. channels: of its inputs. key: where in the file, such as
    `state_dict`. prefix: what the names begin with. Both are found where they are None. layouts:
    other names for the module's weights, beside its own. normalised: mean and std are known, the
    file is not asked for them. hint: what to add of tensors that do not fit. Raises UserError where
    the file cannot be read, no set of its tensors fits the module whole, several fit that differ,
    or what normalises the inputs is unclear; WrongClassesError where only the last layer has
    another size. The module is then unchanged.
    """
    found = dict(sets_in(read_weight_file(path)))
    if not found:
        raise UserError(f"{path} holds no named tensors, so no weights of a model")
    if key is not None and key not in found:
        raise UserError(f"{path} has no tensors at key={key}; it has some at {_keys(found)}")
    fits = [
        fit
        for name, tensors in found.items()
        if key in (None, name)
        for layout in (Layout(""), *layouts)
        for fit in fits_of(module, name, tensors, layout, prefix)
    ]
    whole = [fit for fit in fits if fit.whole]
    if not whole:
        best = max(fits, key=lambda fit: (len(fit.tensors), len(fit.unfit), -len(fit.extra)))
        if classes := _classes(best):
            raise WrongClassesError(
                f"{path} does not fit {what}: it has {classes[0]} classes, the model has "
                f"{classes[1]}",
                classes[0],
            )
        raise UserError(f"{_misfit(path, what, best)}{hint(found[best.key])}")
    fit = whole[0]
    for other in whole[1:]:
        if not _equal(fit.tensors, other.tensors):
            raise UserError(_ambiguous(path, fit, other))
    if odd := next((name for name, tensor in fit.tensors.items() if _is_odd(tensor)), None):
        raise UserError(
            f"{path}: {fit.layout.theirs(odd)} is no plain tensor of real numbers, and is not read"
        )
    statistics = None if normalised else statistics_of(path, fit, found[fit.key], channels)
    try:
        module.load_state_dict(_as_of(module, fit.tensors), strict=False)
    except RuntimeError as error:  # of hooks of the module
        raise UserError(f"{path} does not fit {what} ({reason(error)})") from error
    return Filled(statistics, fit.layout, tuple(_notes(path, fit, statistics)))


def _as_of(module: nn.Module, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The tensors with the versions of the module's layers: some refuse tensors of no version."""
    state = module.state_dict()
    state.update(tensors)
    return state


def _is_odd(tensor: Tensor) -> bool:
    plain = tensor.layout == torch.strided and not (tensor.is_quantized or tensor.is_meta)
    return not plain or tensor.is_complex()


def _keys(found: Iterable[str]) -> str:
    return ", ".join(name or "the top" for name in found)


def _notes(path: Path, fit: Fit, statistics: Statistics | None) -> Iterator[str]:
    place = f" at {fit.key}" if fit.key else ""
    without = f", names without '{fit.prefix}'" if fit.prefix else ""
    layout = f", in the layout of {fit.layout.name}" if fit.layout.name else ""
    yield f"all weights are from {path.name}{place}{without}{layout}"
    kinds = {tensor.dtype for tensor in fit.tensors.values()} - {torch.float32}
    if kinds:
        names = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
        yield f"{path.name} holds weights in {names}: they are converted to those of the model"
    if fit.unused:
        yield f"{path.name} holds tensors that its own code does not use: {fit.unused} are left out"
    if fit.beside:
        yield f"left out, as it lies beside the weights in {path.name}: {_listed(fit.beside)}"
    if statistics is not None:
        yield statistics.text


def _classes(fit: Fit) -> tuple[int, int] | None:
    """The file's and the module's number of outputs, where nothing but this does not fit."""
    sizes = {
        (len(theirs), len(ours))
        for theirs, ours in fit.unfit.values()
        if theirs.ndim and theirs.shape[1:] == ours.shape[1:]
    }
    alone = len(sizes) == 1 and len(fit.unfit) <= 2 and not fit.missing and not fit.extra
    return sizes.pop() if alone else None


def _misfit(path: Path, what: str, fit: Fit) -> str:
    place = f" at {fit.key}" if fit.key else ""
    text = f"{path}{place} does not fit {what}: "
    if not fit.tensors and not fit.unfit:
        theirs = next(iter(fit.extra or fit.beside), "")
        return text + (
            f"none of its names, such as {theirs}, is one of the model's, such as {fit.prefix}"
            f"{next(iter(fit.missing))}"
        )
    parts = []
    if fit.missing:
        parts.append(f"it lacks {_listed(fit.missing)}")
    if fit.unfit:
        name, (found, expected) = next(iter(fit.unfit.items()))
        more = f", and {len(fit.unfit) - 1} more of another shape" if len(fit.unfit) > 1 else ""
        parts.append(f"{name} is {_shape(found)} instead of {_shape(expected)}{more}")
    if fit.extra:
        parts.append(f"the model has no place for {_listed(fit.extra)}")
    return text + "; ".join(parts)


def _listed(tensors: Mapping[str, Tensor]) -> str:
    """`bn.weight (512), bn.bias (512) and 3 more`."""
    first = [f"{name} {_shape(tensor)}" for name, tensor in list(tensors.items())[:3]]
    more = len(tensors) - len(first)
    return ", ".join(first) + (f" and {more} more" if more else "")


def _shape(tensor: Tensor) -> str:
    return f"({', '.join(map(str, tensor.shape))})"


def _ambiguous(path: Path, one: Fit, other: Fit) -> str:
    option, names = (
        ("key", [one.key, other.key])
        if one.key != other.key
        else ("prefix", [one.prefix, other.prefix])
    )
    return (
        f"{path} holds two sets of weights that fit and differ, at '{names[0]}' and '{names[1]}': "
        f"choose one with {option}="
    )


def _equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())
