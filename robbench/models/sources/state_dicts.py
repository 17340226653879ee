"""The sets of tensors in what a file of weights holds, against the names and shapes of a module."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from robbench.core.errors import UserError

_UNUSED = "num_batches_tracked"  # counts training steps; older files lack it
_MEAN = re.compile(r"mean|^mu$")  # also in new_mean, _mean and means
_STDS = ("std", "sigma")
_DEEPEST = 4
_MOST_CHANNELS = 16
_LONGEST = 300


class Layout(NamedTuple):
    """How other code names the weights of an architecture of ours.

    renamed: patterns of our names and their replacements, all applied in turn. unused: a pattern
    of their names that the forward pass does not use. normalised, ambiguity: what is known of the
    inputs, and what the names leave open of the forward pass.
    """

    name: str
    renamed: tuple[tuple[str, str], ...] = ()
    unused: str = ""
    normalised: str = ""
    ambiguity: str = ""

    def theirs(self, ours: str) -> str:
        """Their name of one of our weights."""
        for pattern, replacement in self.renamed:
            ours = re.sub(pattern, replacement, ours)
        return ours


class Statistics(NamedTuple):
    """Of the inputs per channel, as a normalisation layer of a file has them."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    name: str

    @property
    def text(self) -> str:
        """A note for users."""
        mean, std = (",".join(f"{value:.4g}" for value in part) for part in self[:2])
        return f"inputs are normalised with mean=({mean}), std=({std}) of {self.name}"


class Fit(NamedTuple):
    """A set of tensors under a prefix, in a layout, against the weights of a module."""

    key: str
    prefix: str
    layout: Layout
    tensors: dict[str, Tensor]  # that fit, by our names
    missing: dict[str, Tensor]  # the module's, by their names
    unfit: dict[str, tuple[Tensor, Tensor]]  # the file's and the module's, by their names
    extra: dict[str, Tensor]  # of the file, under the prefix
    beside: dict[str, Tensor]  # of the file, elsewhere
    unused: int  # how many the layout knows and the forward pass does not use

    @property
    def whole(self) -> bool:
        return not (self.missing or self.unfit or self.extra)


def sets_in(content: Any) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Every mapping in a file that holds named tensors, behind the keys that lead to it."""
    waiting, seen = [("", content, 0)], set()
    while waiting:
        key, value, depth = waiting.pop(0)
        if not isinstance(value, Mapping) or id(value) in seen or depth > _DEEPEST:
            continue
        seen.add(id(value))
        named = {name: part for name, part in value.items() if _is_name(name)}
        tensors = {name: part for name, part in named.items() if isinstance(part, Tensor)}
        if tensors:
            yield key, tensors
        waiting += [
            (f"{key}.{name}" if key else name, part, depth + 1) for name, part in named.items()
        ]


def _is_name(value: Any) -> bool:
    """Whether it may be printed: no weights are named otherwise."""
    return isinstance(value, str) and value.isprintable() and len(value) <= _LONGEST


def fits_of(
    module: nn.Module, key: str, tensors: dict[str, Tensor], layout: Layout, prefix: str | None
) -> Iterator[Fit]:
    """How tensors at a key fit a module, under each prefix by which most of its weights are named.

    prefix: the only one that is tried, if given.
    """
    ours = {
        layout.theirs(name): name
        for name, tensor in module.state_dict().items()
        if isinstance(tensor, Tensor) and not name.endswith(_UNUSED)
    }
    for start in _prefixes(tensors, ours) if prefix is None else [f"{prefix.rstrip('.')}."]:
        yield _fit(module.state_dict(), key, tensors, layout, ours, start)


def _prefixes(tensors: Mapping[str, Tensor], theirs: Mapping[str, str]) -> list[str]:
    """Beginnings of names after which most of `theirs` follow."""
    counts: Counter[str] = Counter()
    for name in tensors:
        parts = name.split(".")
        for n in range(len(parts)):
            if ".".join(parts[n:]) in theirs:
                counts["".join(f"{part}." for part in parts[:n])] += 1
    most = max(counts.values(), default=0)
    return [prefix for prefix, count in counts.items() if count == most] or [""]


def _fit(
    state: Mapping[str, Tensor],
    key: str,
    tensors: dict[str, Tensor],
    layout: Layout,
    ours: Mapping[str, str],
    prefix: str,
) -> Fit:
    fitting, missing, unfit = {}, {}, {}
    for their, our in ours.items():
        found = tensors.get(prefix + their)
        if found is None:
            missing[their] = state[our]
        elif found.shape != state[our].shape:
            unfit[their] = found, state[our]
        else:
            fitting[our] = found
    used = {prefix + their for their in ours}
    aside = used.union(*_pairs(tensors, used))
    rest = {
        name: tensor
        for name, tensor in tensors.items()
        if name not in aside and not name.endswith(_UNUSED)
    }
    unused = [
        name
        for name in rest
        if layout.unused and re.match(layout.unused, name.removeprefix(prefix))
    ]
    for name in unused:
        del rest[name]
    extra = {name: tensor for name, tensor in rest.items() if name.startswith(prefix)}
    beside = {name: tensor for name, tensor in rest.items() if name not in extra}
    return Fit(key, prefix, layout, fitting, missing, unfit, extra, beside, len(unused))


def _pairs(tensors: Mapping[str, Tensor], used: Collection[str]) -> list[tuple[str, str]]:
    """The names of mean and std of normalisation layers: a few numbers, beside each other."""
    found = []
    for name, tensor in tensors.items():
        parent, dot, last = name.rpartition(".")
        if name in used or not _MEAN.search(last) or not 0 < tensor.numel() <= _MOST_CHANNELS:
            continue
        stds = [std for word in _STDS if (std := parent + dot + _MEAN.sub(word, last)) in tensors]
        found += [(name, std) for std in stds if tensors[std].numel() == tensor.numel()]
    return found


def statistics_of(
    path: Path, fit: Fit, tensors: Mapping[str, Tensor], channels: int
) -> Statistics | None:
    """Mean and std of the inputs, if a file has them.

    UserError where they do not say which, or where it has other numbers for each channel that may
    be them.
    """
    ours = {fit.layout.theirs(name): tensor for name, tensor in fit.tensors.items()}
    pairs = _pairs(tensors, {fit.prefix + their for their in ours})
    found = {(_numbers(tensors[mean]), _numbers(tensors[std])): mean for mean, std in pairs}
    if len(found) > 1:
        raise UserError(
            f"{path} has several normalisations that differ ({', '.join(found.values())}): give "
            "mean= and std="
        )
    for (mean, std), name in found.items():
        if not all(map(math.isfinite, (*mean, *std))) or min(std) <= 0:
            raise UserError(
                f"{path}: {name} and its std are no normalisation (mean {mean}, std {std}): give "
                "mean= and std="
            )
        if max(*map(abs, mean), *std) > 1:
            scaled = [",".join(f"{value / 255:.6g}" for value in part) for part in (mean, std)]
            raise UserError(
                f"{path}: {name} and its std are not of images in [0,1]; of 0 to 255 they are "
                f"mean=({scaled[0]}),std=({scaled[1]}): give mean= and std="
            )
    if unread := [
        name
        for name, tensor in fit.beside.items()
        if tensor.ndim and tensor.numel() == channels and not _is_twin(name, tensor, ours)
    ]:
        raise UserError(
            f"{path}: {', '.join(unread)} beside the weights may normalise the inputs: give mean= "
            "and std=, mean=0,std=1 where nothing does, or an arch that has it inside"
        )
    return next((Statistics(*pair, name) for pair, name in found.items()), None)


def _is_twin(name: str, tensor: Tensor, ours: Mapping[str, Tensor]) -> bool:
    """Whether it is one of the weights of another copy of the model, as of an average."""
    parts = name.split(".")
    ends = (".".join(parts[n:]) for n in range(len(parts)))
    return any(end in ours and ours[end].shape == tensor.shape for end in ends)


def _numbers(tensor: Tensor) -> tuple[float, ...]:
    return tuple(tensor.double().flatten().tolist())
