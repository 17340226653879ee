"""Private data: `module:name[:key=value]`, a function that returns samples, or the samples."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset

from robbench.catalogue.builtins import DATA
from robbench.core.errors import RobbenchError, UserError
from robbench.core.factories import code_behind, option_values, require_own, takes
from robbench.core.guest import guest_code
from robbench.core.imports import import_target
from robbench.core.spec import parse_spec
from robbench.data.base import Data, Split, Table, reason
from robbench.data.memory import read_samples
from robbench.data.stream import StreamedImages

SAMPLES = (Dataset, DataLoader, Data, Table, Split, tuple)


class Factory(NamedTuple):
    """What a spec names: `module:name`, the object found there, its options."""

    target: str
    found: Any
    options: Mapping[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Private(Data):
    """Samples of a user's own: what a function returns for a split, or an object at hand."""

    factory: Factory

    def open(self, split: str, data_dir: Path | None, download: bool) -> Table:
        """The samples as a table. UserError where they are none, or the function raises."""
        target, found, _ = self.factory
        owner = f"data set '{target}'"
        at_hand = isinstance(found, SAMPLES)
        divided = not at_hand and takes(found, "split")
        given = {**self.factory.options, **({"split": split} if divided else {})}
        values = {} if at_hand else option_values(found, owner, given)
        values |= {"split": split} if divided else {}
        doing = "its samples" if at_hand else "its function"
        try:
            with guest_code(f"{owner}: {doing}", target.partition(":")[0]):
                made = found if at_hand else found(**values)
                doing = "its samples"  # a Dataset makes them when it is read
                return _table(made, target, split, data_dir, download, divided=divided)
        except RobbenchError:
            raise
        except Exception as error:
            raise UserError(f"{doing} raised {reason(error)}") from error


def private_factory(base: str) -> Factory | None:
    """What a spec without subsets names in private code, if that is no class of `Data`.

    Raises UserError where it can give no samples.
    """
    name, _, rest = base.partition(":")
    attribute, _, options = rest.partition(":")
    if not attribute.isidentifier() or name in DATA.entries or not _is_module(name):
        return None
    target = f"{name}:{attribute}"
    owner = f"data set '{target}'"
    found = import_target(target, owner)
    if isinstance(found, type) and issubclass(found, Data):
        return None
    parsed = parse_spec(f"{attribute}:{options}" if options else attribute)
    if parsed.argument is not None:
        raise UserError(f"{owner}: '{parsed.argument}' is not key=value")
    if isinstance(found, SAMPLES):
        if parsed.options:
            raise UserError(f"{owner}: {target} is no function, so it has no options")
        return Factory(target, found, {})
    code = code_behind(found, target, owner)
    if not (inspect.isfunction(code) or (isinstance(code, type) and issubclass(code, Dataset))):
        raise UserError(
            f"{owner}: {target} is neither samples nor a function that returns some, a class "
            "derived from torch's Dataset or from robbench.data.base.Data"
        )
    require_own(found, code, target, owner, "makes samples")
    return Factory(target, found, parsed.options)


def private_data(base: str) -> Data | None:
    """The data set of a spec that names a function or samples in private code; None for others."""
    factory = private_factory(base)
    return None if factory is None else Private(factory=factory)


def _is_module(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def _table(
    given: Any, target: str, split: str, data_dir: Path | None, download: bool, *, divided: bool
) -> Table:
    """Samples of whatever kind as a table; a note says where they are the same for all splits."""
    if isinstance(given, Data):
        return given.open(split, data_dir, download)
    table = _read(given, target)
    if divided:
        return table
    same = f"{target} does not take `split`: every split is the same {len(table.labels)} samples"
    return dataclasses.replace(table, notes=(*table.notes, same))


def _read(given: Any, target: str) -> Table:
    if isinstance(given, Table):
        return given
    if isinstance(given, Split):
        images = given.images
        return Table(
            given.labels.cpu().numpy(),
            given.classes,
            lambda rows: images[torch.from_numpy(rows)].cpu().numpy(),
            scale=given.scale,
            notes=given.notes,
            free=None if given.free is None else given.free.cpu().numpy(),
            lazy=isinstance(images, StreamedImages),
            units=given.units,
            columns=None if given.columns is None else _by_row(given.columns, given.ids.tolist()),
        )
    if isinstance(given, tuple) and len(given) in (2, 3):
        samples = read_samples(given[0], given[1])
        names = _names(given[2], target) if len(given) == 3 else ()
    elif isinstance(given, Dataset | DataLoader):
        samples, names = read_samples(given), ()
    else:
        raise UserError(
            f"{target} gives {type(given).__name__}; it should give a torch Dataset, "
            "(images, labels), or (images, labels, class names)"
        )
    return Table(
        samples.labels,
        names or samples.classes or tuple(map(str, range(samples.count()))),
        lambda rows: samples.images[rows],
        samples.scale,
        notes=samples.notes,
    )


def _by_row(
    read: Callable[[str], dict[int, Any]], ids: Sequence[int]
) -> Callable[[str], Sequence[Any]]:
    """What reads a column by row, from one by sample id."""

    def values(name: str) -> Sequence[Any]:
        by_id = read(name)
        return [by_id[sample] for sample in ids]

    return values


def _names(given: Any, target: str) -> tuple[str, ...]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise UserError(f"{target} gives class names of type {type(given).__name__}; give a list")
    return tuple(map(str, given))
