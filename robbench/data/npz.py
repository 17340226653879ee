"""Arrays in files of NumPy: images or features, and labels. Nothing in them is ever unpickled."""

from __future__ import annotations

import contextlib
import os
import zipfile
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from robbench.core.errors import UserError
from robbench.core.spec import Number, OrNone, split_items
from robbench.data.array_labels import class_names, number_array
from robbench.data.arrays import Pixels, channels_last, pixels_of, white_of
from robbench.data.base import Data, Table, reason
from robbench.data.fixed import fixed_note, free_entries
from robbench.data.npz_keys import find_keys
from robbench.data.split_files import SPLIT, find_files, undivided


class Found(NamedTuple):
    """Arrays of a split: images, labels, labels of the other splits, a fixed mask, notes."""

    images: NDArray[Any]
    labels: NDArray[Any]
    others: list[NDArray[Any]]
    mask: NDArray[Any] | None
    notes: list[str]


@dataclass(frozen=True, kw_only=True)
class Arrays(Data):
    """Images [N,C,H,W], [N,H,W,C] or [N,H,W], or features [N,D], and labels [N]."""

    layout: Annotated[
        Literal["auto", "nchw", "nhwc"],
        Field(description="where the channels are; auto finds it where only one is possible"),
    ] = "auto"
    scale: Annotated[
        Annotated[Number, Field(gt=0)] | None,
        OrNone,
        Field(description="the value of white, such as 255 or 1; none finds it where it is sure"),
    ] = None
    classes: Annotated[str, Field(description="how many there are, or their names: (no,yes)")] = ""
    fixed: Annotated[
        str,
        Field(
            description=(
                "what may not change: features by number from 0, (0,3), or a mask, true where "
                "fixed: its key in an .npz file, or an .npy file"
            )
        ),
    ] = ""

    @abstractmethod
    def read(self, split: str, data_dir: Path | None) -> Found:
        """The arrays of a split. UserError when they are missing, ambiguous or broken."""

    def open(self, split: str, data_dir: Path | None, download: bool) -> Table:
        """The arrays as samples. UserError for what is no images and labels, or uncertain."""
        found = self.read(split, data_dir)
        if not found.images.ndim or found.images.shape[:1] != found.labels.shape[:1]:
            raise UserError(
                f"the images have shape {found.images.shape}, the labels {found.labels.shape}: "
                "both should begin with the number of samples"
            )
        images, layout = self._in_order(found.images)
        pixels, scale = self._scaled(images)
        labels, names, classes = number_array(found.labels, found.others, class_names(self.classes))
        free, fixed = self._free(images.shape[1:], found.mask)
        return Table(
            labels,
            names,
            pixels.rows,
            scale=pixels.scale,
            notes=(*found.notes, *layout, *scale, *classes, *fixed),
            free=free,
            lazy=isinstance(found.images, np.memmap),
        )

    def _in_order(self, images: NDArray[Any]) -> tuple[NDArray[Any], list[str]]:
        shape = images.shape
        if images.ndim == 3:
            return images[:, None], [f"images of shape {shape} are taken as grey: one channel"]
        if images.ndim != 4:
            return images, []
        last = channels_last(shape) if self.layout == "auto" else self.layout == "nhwc"
        if last is None:
            raise UserError(
                f"images have shape {shape}: say where the channels are, layout=nchw or layout=nhwc"
            )
        told = " (as layout says)" if self.layout != "auto" else ""
        order = "last" if last else "first"
        note = f"images of shape {shape} have their channels {order}{told}"
        return (images.transpose(0, 3, 1, 2) if last else images), [note]

    def _scaled(self, images: NDArray[Any]) -> tuple[Pixels, list[str]]:
        if images.dtype.kind not in "biuf":
            raise UserError(f"images are {images.dtype}; should be numbers")
        if not images.size:
            return pixels_of(images.astype(np.float32), 1.0), []
        low, high = float(images.min()), float(images.max())
        white = self.scale or white_of(images)
        if white is None:
            raise UserError(
                f"values are {images.dtype} from {low:g} to {high:g}: say which is white (or the "
                "largest), such as scale=255 or scale=1"
                + ("; tables of raw features are read as csv:FILE" if images.ndim == 2 else "")
            )
        told = " (as scale says)" if self.scale else ""
        taken = "taken as they are" if white == 1 else f"divided by {white:g}"
        return pixels_of(images, float(white)), [
            f"values are {images.dtype} from {low:g} to {high:g}, {taken}{told}"
        ]

    def _free(
        self, shape: tuple[int, ...], mask: NDArray[Any] | None
    ) -> tuple[NDArray[np.bool_] | None, list[str]]:
        """The entries that may change, and the note on the others."""
        if not self.fixed:
            return None, []
        numbers = split_items(self.fixed)
        if mask is None and not all(number.isdecimal() and len(number) < 10 for number in numbers):
            raise UserError(f"fixed={self.fixed} is neither numbers of features nor a mask")
        free = free_entries(np.array(list(map(int, numbers))) if mask is None else mask, shape)
        return free, [fixed_note(free)]


@dataclass(frozen=True, kw_only=True)
class NPZ(Arrays):
    """Arrays in an .npz file (`numpy.savez`), for all splits or in one file for each.

    FILE.npz, FILE-{split}.npz, or a folder of train.npz and test.npz. In a file the arrays are
    found by their usual names, such as x_test and y_test, images and labels, data and target.
    """

    argument: ClassVar[str] = "file"

    file: Annotated[
        str, Field(min_length=1, description="FILE.npz, FILE-{split}.npz, or a folder of them")
    ]
    x: Annotated[
        str, Field(description="the key of the images, in which {split} may stand; else by name")
    ] = ""
    y: Annotated[
        str, Field(description="the key of the labels, in which {split} may stand; else by name")
    ] = ""

    def read(self, split: str, data_dir: Path | None) -> Found:
        files = find_files(self.file, split, ".npz", data_dir)
        with _opened(files.path) as arrays:
            keys = find_keys(list(arrays), split, self.x, self.y, files.path)
            images, labels = arrays[keys.images], arrays[keys.labels]
            others = [arrays[key] for key in keys.others]
            mask = arrays.get(self.fixed)
        for path in files.others:
            with _opened(path) as more:
                others += [more[keys.labels]] if keys.labels in more else []
        notes = [f"{files.path.name}: images {keys.images}, labels {keys.labels}"]
        if not files.splits and not keys.divided:
            notes.append(undivided(files.path, len(labels) if labels.ndim else 0))
        return Found(images, labels, others, mask, notes)


@dataclass(frozen=True, kw_only=True)
class NPY(Arrays):
    """Images and labels in an .npy file each (`numpy.save`); large ones are read as needed.

    Both may have {split} in their names, for one file of each split.
    """

    argument: ClassVar[str] = "file"

    file: Annotated[str, Field(min_length=1, description="the images, in which {split} may stand")]
    labels: Annotated[
        str, Field(min_length=1, description="the labels, in which {split} may stand")
    ]

    def read(self, split: str, data_dir: Path | None) -> Found:
        images = find_files(self.file, split, ".npy", data_dir)
        labels = find_files(self.labels, split, ".npy", data_dir)
        if (SPLIT in self.file) != (SPLIT in self.labels):
            raise UserError(f"{SPLIT} should stand in the names of both files, or of none")
        found = read_npy(labels.path, mapped=False)
        others = [read_npy(path, mapped=False) for path in labels.others]
        notes = [undivided(images.path, len(found) if found.ndim else 0)] * (not images.splits)
        mask = self._mask(data_dir)
        return Found(read_npy(images.path, mapped=True), found, others, mask, notes)

    def _mask(self, data_dir: Path | None) -> NDArray[Any] | None:
        if not self.fixed.endswith(".npy"):
            return None
        return read_npy(find_files(self.fixed, "test", ".npy", data_dir).path, mapped=False)


def read_npy(path: Path, *, mapped: bool) -> NDArray[Any]:
    """The array of an .npy file, left on the disk if `mapped`. UserError for anything else."""
    if zipfile.is_zipfile(_readable(path)):
        raise UserError(f"{path} holds several arrays; read it as npz:{path.name}")
    try:
        found: NDArray[Any] = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except Exception as error:
        raise _unreadable(path, error, "it") from error
    return found


class _Lazy(Mapping[str, NDArray[Any]]):
    """The arrays of an .npz file, read when they are asked for."""

    def __init__(self, path: Path, archive: Any) -> None:
        self.path = path
        self.archive = archive

    def __getitem__(self, key: str) -> NDArray[Any]:
        try:
            found: NDArray[Any] = self.archive[key]
        except KeyError:
            raise
        except Exception as error:
            raise _unreadable(self.path, error, f"array '{key}'") from error
        if not isinstance(found, np.ndarray):
            raise UserError(f"{self.path}: '{key}' is no array")
        return found

    def __contains__(self, key: object) -> bool:
        return key in self.archive.files

    def __iter__(self) -> Iterator[str]:
        return iter(self.archive.files)

    def __len__(self) -> int:
        return len(self.archive.files)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[_Lazy]:
    with _readable(path).open("rb") as file:  # NumPy leaves open what it cannot read
        try:
            found = np.load(file, allow_pickle=False)
        except Exception as error:
            raise _unreadable(path, error, "it") from error
        if isinstance(found, np.ndarray):
            raise UserError(f"{path} holds a single array; read it as npy:{path.name},labels=FILE")
        yield _Lazy(path, found)


def _readable(path: Path) -> Path:
    if not os.access(path, os.R_OK):
        raise UserError(f"{path} may not be read")
    return path


def _unreadable(path: Path, error: Exception, what: str) -> UserError:
    if "pickle" in str(error):
        return UserError(
            f"{path}: {what} holds Python objects or is no file of arrays, and is not unpickled: "
            "save plain arrays of numbers with numpy.savez or numpy.save"
        )
    broken = isinstance(error, zipfile.BadZipFile | EOFError | OSError)
    return UserError(
        f"{path} cannot be read ({reason(error)})" + ("; is it complete?" if broken else "")
    )
