"""From a data spec and a split's name to the samples: resolve, open, select, decode, check."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robbench.catalogue.builtins import DATA
from robbench.core.errors import RobbenchError, RunError, UserError, unknown
from robbench.core.spec import parse_spec
from robbench.data.arrays import checked_images
from robbench.data.base import Data, Split, Table, reason, sample_ids
from robbench.data.data_folder import data_folder, holds_parquet, private_sets
from robbench.data.private import private_data, private_factory
from robbench.data.stream import STREAM_BYTES, ColouredError, Decoder, StreamedImages, logged
from robbench.data.subset import Selection, few_classes, limit_subset, select, split_subsets

T = TypeVar("T")

_FILES = {
    ".npz": "npz:{name}",
    ".npy": "npy:{name},labels=FILE",
    ".csv": "csv:{name},label=COLUMN",
}


def load(
    spec: str,
    split: str,
    *,
    data_dir: Path | None = None,
    limit: int | str | None = None,
    download: bool = False,
) -> Split:
    """The samples of a split that a spec such as `cifar10[airplane,horse][first=100]` describes.

    `limit` N is one more `[first=N]` (or `first=N`, `stratified=N`). Only selected rows are
    decoded, and nothing is fetched from the network unless `download`. Raises UserError when the
    spec, the files or the images are wrong; RunError when a download or a plug-in fails.
    """
    if (
        not split.isprintable()
        or not split.strip()
        or split.startswith(".")
        or "/" in split
        or "\\" in split
    ):
        raise UserError(
            f"{split!r} cannot be a split; give a name such as train, test or validation"
        )
    base, subsets = split_subsets(spec)
    if limit is not None:
        subsets.append(limit_subset(limit))
    folder = data_folder(data_dir)
    source = find_source(base, folder)
    where = f"{base}, {split} split"
    table = _guarded(where, lambda: _checked_table(source.open(split, folder, download)))
    chosen = _guarded(where, lambda: select(subsets, table.labels, table.classes))
    images, ids = _images(table, chosen, where)
    return Split(
        images=images,
        labels=torch.from_numpy(np.ascontiguousarray(chosen.labels)),
        ids=torch.from_numpy(ids),
        classes=chosen.classes,
        name=spec.strip(),
        split=split,
        scale=table.scale,
        notes=(*table.notes, *few_classes(subsets, table.labels, table.classes)),
        whole=table.classes,
        free=_guarded(where, lambda: _checked_mask(table.free, images.shape[1:])),
        units=table.units,
        columns=table.by_id(chosen.rows, ids),
    )


def _images(
    table: Table, chosen: Selection, where: str
) -> tuple[Tensor | StreamedImages, NDArray[np.int64]]:
    """The images of the chosen rows, streamed where they are large, and their ids."""

    def decode(rows: NDArray[np.int64]) -> NDArray[Any]:
        return _guarded(where, lambda: checked_images(table.decode(rows), len(rows), table.scale))

    rows = chosen.rows
    if table.lazy:
        first = decode(rows[:1])
        if first.nbytes * len(rows) > STREAM_BYTES:
            return _streamed(decode, first, chosen)
    images = decode(rows)
    return torch.from_numpy(images), sample_ids(images, chosen.labels)


def _streamed(
    decode: Callable[[NDArray[np.int64]], NDArray[Any]], first: NDArray[Any], chosen: Selection
) -> tuple[StreamedImages, NDArray[np.int64]]:
    """Images decoded once for their ids, and then whenever they are asked for."""
    shape = first.shape[1:]
    while True:
        decoder = Decoder(decode, shape, first.dtype, int(chosen.rows[0]))
        images = StreamedImages(decoder, chosen.rows)
        try:
            ids = sample_ids(logged(images.each(), len(images)), chosen.labels)
        except ColouredError as error:
            shape = (error.channels, *shape[1:])
        else:
            return images, ids


def default_threat(spec: str) -> str | None:
    """The usual threat model of a data set, such as `linf:8/255`; None if it has none.

    Raises UserError when the spec is malformed.
    """
    base, _ = split_subsets(spec)
    if ":" not in base and base not in DATA.entries:
        return None  # a folder of Parquet files, or a typing error that `load` reports
    return None if private_factory(base) else DATA.parse(base)[0].threat


def find_source(base: str, folder: Path) -> Data:
    """The data set of a spec without subsets, which may also name a folder of Parquet files."""
    if ":" in base or base in DATA.entries:
        return private_data(base) or DATA.build(base)
    name = parse_spec(base).name
    if holds_parquet(folder / name):
        # The absolute path: a folder of that name in the working folder is not meant.
        from robbench.data.parquet import ParquetImages

        return ParquetImages(dir=str((folder / name).absolute()))
    if Path(name).is_dir():
        kind = "parquet" if holds_parquet(Path(name)) else "folder"
        raise UserError(
            f"unknown data set '{name}'; for the folder of that name write {kind}:{name}"
        )
    if (suffix := Path(name).suffix) in _FILES and Path(name).is_file():
        raise UserError(
            f"unknown data set '{name}'; for the file of that name write "
            f"{_FILES[suffix].format(name=name)}"
        )
    raise unknown("data set", name, {*DATA.entries, *private_sets(folder)})


def _guarded(where: str, action: Callable[[], T]) -> T:
    """Put the data set's name in front of every error; what is not ours is a plug-in's failure."""
    try:
        return action()
    except RobbenchError as error:
        raise type(error)(f"{where}: {error}") from error
    except Exception as error:
        raise RunError(f"{where}: raised {reason(error)}") from error


def _checked_table(table: Table) -> Table:
    if not isinstance(table, Table):
        raise UserError(f"its open returned {type(table).__name__}, not a robbench.data.base.Table")
    if len(table.labels) == 0:
        raise UserError("there are no samples in it")
    return table


def _checked_mask(free: NDArray[np.bool_] | None, shape: tuple[int, ...]) -> Tensor | None:
    """The entries that may change [*]; None for all. UserError for another shape, or for none."""
    if free is None or (free.shape == shape and free.all()):
        return None
    if free.dtype != np.bool_ or free.shape != shape:
        raise UserError(
            f"the mask of entries that may change is {free.dtype} of shape {free.shape}; should be "
            f"bool of shape {shape}"
        )
    if not free.any():
        raise UserError("all entries are fixed, so there is nothing to attack; fix fewer of them")
    return torch.from_numpy(np.ascontiguousarray(free))
