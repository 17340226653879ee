"""Arrays in files of NumPy: images or features, and labels. Nothing in them is ever unpickled."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from robbench.core.errors import UserError
from robbench.core.spec import Number, OrNone, split_items
from robbench.data.array_labels import class_names, number_array
from robbench.data.arrays import Pixels, channels_last, pixels_of, uncertain_white, white_of
from robbench.data.base import Data, Table, Units
from robbench.data.feature_box import UnitName, box_of, units_of
from robbench.data.fixed import fixed_note, free_entries
from robbench.data.npz_keys import Keys, find_keys
from robbench.data.numpy_files import opened, read_npy
from robbench.data.split_files import SPLIT, SplitFiles, find_files, undivided


class Found(NamedTuple):
    """Arrays of a split: images, labels, labels of the other splits, a fixed mask, notes.

    `training` reads the images of the training split, or where there are no splits these.
    """

    images: NDArray[Any]
    labels: NDArray[Any]
    others: list[NDArray[Any]]
    mask: NDArray[Any] | None
    notes: list[str]
    training: Callable[[], NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Arrays(Data):
    """Images [N,C,H,W], [N,H,W,C] or [N,H,W], or features [N,D], and labels [N]."""

    layout: Annotated[
        Literal["auto", "nchw", "nhwc"],
        Field(description="order of the axes; auto: found if only one is possible"),
    ] = "auto"
    scale: Annotated[
        Annotated[Number, Field(gt=0)] | None,
        OrNone,
        Field(description="the value of white, such as 255 or 1; none: found if it is certain"),
    ] = None
    classes: Annotated[str, Field(description="how many there are, or their names: (no,yes)")] = ""
    box: Annotated[
        Literal["none", "train"],
        Field(
            description=(
                "train: features [N,D] of any range, whose smallest and largest value in the "
                "training data become 0 and 1"
            )
        ),
    ] = "none"
    units: Annotated[
        UnitName,
        Field(
            description=(
                "with box=train, what a model of yours takes: unit, features in [0,1]; raw, as in "
                "the file; standard, standardised with mean and deviation of the training data"
            )
        ),
    ] = "unit"
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
        images, units, ranges, moving = self._boxed(images, found)
        pixels, scale = self._scaled(images)
        labels, names, classes = number_array(found.labels, found.others, class_names(self.classes))
        mask = found.mask
        if mask is None and self.fixed.endswith(".npy"):
            file = find_files(self.fixed, "test", ".npy", data_dir).path
            mask = read_npy(file, mapped=False)
        free, fixed = self._free(images.shape[1:], mask)
        if moving is not None and not moving.all():
            free = moving if free is None else moving & free
            fixed = [f"{fixed_note(free)}, those that are constant among them"]
        return Table(
            labels,
            names,
            pixels.rows,
            scale=pixels.scale,
            notes=(*found.notes, *layout, *(ranges or scale), *classes, *fixed),
            free=free,
            units=units,
            lazy=isinstance(found.images, np.memmap) and self.box == "none",
        )

    def _boxed(
        self, images: NDArray[Any], found: Found
    ) -> tuple[NDArray[Any], Units | None, list[str], NDArray[np.bool_] | None]:
        """Features in the box of the training data, what models take, the note on it.

        And which features are not constant; None without a box.
        """
        if self.box == "none":
            if self.units != "unit":
                raise UserError(f"units={self.units} goes with box=train")
            return images, None, [], None
        training = found.training()
        if any(each.ndim != 2 or each.dtype.kind not in "biuf" for each in (images, training)):
            raise UserError("box=train is for features [N,D], numbers")
        if images.shape[1] != training.shape[1]:
            raise UserError(
                f"there are {images.shape[1]} features, in the training data {training.shape[1]}"
            )
        values, training = (each.astype(np.float64) for each in (images, training))
        if not (np.isfinite(values).all() and np.isfinite(training).all()):
            raise UserError("features contain NaN or infinity; remove or fix these samples")
        ranges = box_of(training)
        outside = int(ranges.outside(values).any(1).sum())
        note = "0 and 1 are the smallest and largest value of a feature in the training data" + (
            f"; {outside} of {len(values)} samples have values beyond them, set to their ends"
            if outside
            else ""
        )
        units = units_of(self.units, ranges, training)
        return ranges.scaled(values), units, [note], ranges.width > 0

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
        source = " (as layout says)" if self.layout != "auto" else ""
        order = "last" if last else "first"
        note = f"images of shape {shape} have their channels {order}{source}"
        return (images.transpose(0, 3, 1, 2) if last else images), [note]

    def _scaled(self, images: NDArray[Any]) -> tuple[Pixels, list[str]]:
        if images.dtype.kind not in "biuf":
            raise UserError(f"images are {images.dtype}; should be numbers")
        if not images.size:
            return pixels_of(images.astype(np.float32), 1.0), []
        low, high = float(images.min()), float(images.max())
        white = self.scale or white_of(images)
        if white is None:
            features = "; features of any range need box=train" if images.ndim == 2 else ""
            raise uncertain_white(images, f"such as scale=255 or scale=1{features}")
        source = " (as scale says)" if self.scale else ""
        taken = "taken as they are" if white == 1 else f"divided by {white:g}"
        return pixels_of(images, float(white)), [
            f"values are {images.dtype} from {low:g} to {high:g}, {taken}{source}"
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
        str, Field(description="the key of the images, with or without {split}; empty: found")
    ] = ""
    y: Annotated[
        str, Field(description="the key of the labels, with or without {split}; empty: found")
    ] = ""

    def read(self, split: str, data_dir: Path | None) -> Found:
        files = find_files(self.file, split, ".npz", data_dir)
        with opened(files.path) as arrays:
            keys = find_keys(list(arrays), split, self.x, self.y, files.path)
            images, labels = arrays[keys.images], arrays[keys.labels]
            others = [arrays[key] for key in keys.others]
            mask = arrays.get(self.fixed)
        for path in files.others:
            with opened(path) as more:
                others += [more[keys.labels]] if keys.labels in more else []
        notes = [f"{files.path.name}: images {keys.images}, labels {keys.labels}"]
        if not files.splits and not keys.divided:
            notes.append(undivided(files.path, len(labels) if labels.ndim else 0))
        return Found(
            images, labels, others, mask, notes, lambda: self._training(files, keys, images)
        )

    def _training(self, files: SplitFiles, keys: Keys, images: NDArray[Any]) -> NDArray[Any]:
        if not keys.divided and files.training == files.path:
            return images
        with opened(files.training) as arrays:
            return arrays[find_keys(list(arrays), "train", self.x, self.y, files.training).images]


@dataclass(frozen=True, kw_only=True)
class NPY(Arrays):
    """Images and labels in an .npy file each (`numpy.save`); large ones are read as needed.

    Both may have {split} in their names, for one file of each split.
    """

    argument: ClassVar[str] = "file"

    file: Annotated[str, Field(min_length=1, description="the images, with or without {split}")]
    labels: Annotated[str, Field(min_length=1, description="the labels, with or without {split}")]

    def read(self, split: str, data_dir: Path | None) -> Found:
        images = find_files(self.file, split, ".npy", data_dir)
        labels = find_files(self.labels, split, ".npy", data_dir)
        if (SPLIT in self.file) != (SPLIT in self.labels):
            raise UserError(f"{SPLIT} should stand in the names of both files, or of none")
        found = read_npy(labels.path, mapped=False)
        others = [read_npy(path, mapped=False) for path in labels.others]
        notes = [undivided(images.path, len(found) if found.ndim else 0)] * (not images.splits)
        whole = read_npy(images.path, mapped=True)
        return Found(
            whole, found, others, None, notes, lambda: read_npy(images.training, mapped=True)
        )
