"""Samples that are in memory already: tensors, NumPy arrays, a Dataset or a DataLoader of torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from PIL.Image import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from robbench.core.errors import UserError, unknown
from robbench.data.arrays import channels_last, checked_images, pixels_of, uncertain_white, white_of
from robbench.data.base import Split, Table, reason, sample_ids
from robbench.data.fixed import fixed_note, free_entries
from robbench.data.images import picture_pixels
from robbench.data.labels import MOST_CLASSES
from robbench.data.subset import few_classes, limit_subset, select

Images: TypeAlias = Tensor | ArrayLike | Dataset[Any] | DataLoader[Any]


@dataclasses.dataclass(frozen=True)
class Samples:
    """Images [N,C,H,W] or [N,D], uint8 up to `scale` or float32 in [0,1]; labels [N].

    Class names, if they are known, and sentences for the user about how the images were read.
    `columns`: further values of each sample [N], by name.
    """

    images: NDArray[Any]
    labels: NDArray[Any]
    classes: tuple[str, ...] = ()
    scale: int = 255
    notes: tuple[str, ...] = ()
    columns: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict)

    def count(self) -> int:
        """How many classes the labels count, from 0. UserError for what are no class numbers."""
        if self.labels.dtype.kind not in "iu":
            raise UserError(f"labels should be one whole number a sample, not {self.labels.dtype}")
        if (largest := int(self.labels.max())) >= MOST_CLASSES:
            raise UserError(f"label {largest} is no class number")
        return 1 + max(largest, 0)

    def _column(self, name: str) -> Sequence[Any]:
        if name not in self.columns:
            raise unknown("column", name, self.columns)
        return self.columns[name]

    def split(
        self,
        classes: Sequence[str],
        *,
        name: str = "memory",
        split: str = "test",
        limit: int | str | None = None,
    ) -> Split:
        """These samples as labelled by `classes`; `limit` as of `robbench attack --limit`.

        Raises UserError for labels that name no class.
        """
        table = Table(
            self.labels,
            tuple(classes),
            lambda rows: self.images[rows],
            columns=self._column if self.columns else None,
        )
        subsets = [] if limit is None else [limit_subset(limit)]
        chosen = select(subsets, table.labels, table.classes)
        images = np.ascontiguousarray(self.images[chosen.rows])
        ids = sample_ids(images, chosen.labels)
        return Split(
            images=torch.from_numpy(images),
            labels=torch.from_numpy(np.array(chosen.labels)),  # theirs may be read-only
            ids=torch.from_numpy(ids),
            classes=table.classes,
            name=name,
            split=split,
            scale=self.scale,
            notes=(*self.notes, *few_classes(subsets, table.labels, table.classes)),
            whole=table.classes,
            columns=table.by_id(chosen.rows, ids),
        )


def read_samples(images: Images, labels: Any = None) -> Samples:
    """Images and labels of whatever kind as arrays.

    uint8 images are pixels from 0 to 255, and so are other whole numbers that can be nothing else;
    channels that certainly come last, and grey images [N,H,W], are put in order. A Dataset or
    DataLoader has the labels itself: it yields pairs (image, label). Raises UserError for other
    images outside of [0,1], for uint8 images of 0 and 1 alone, for other shapes than [N,C,H,W] and
    [N,D], and where labels are missing, no whole numbers, or of another number.
    """
    classes: tuple[str, ...] = ()
    if isinstance(images, Dataset | DataLoader):
        if labels is not None:
            raise UserError(
                f"a {type(images).__name__} has its labels itself; leave out labels, or give "
                "tensors"
            )
        classes = _class_names(images)
        with torch.random.fork_rng([]):  # a DataLoader draws from torch's generator when it is read
            images, labels = _collected(images)
    elif labels is None:
        raise UserError("labels are missing: give one class number per image")
    pixels, numbers = _array(images), _array(labels)
    if pixels.ndim == 3 and len(numbers) != len(pixels):
        raise UserError(
            f"images have shape {pixels.shape}, not [N,C,H,W]: of one image give images[None]"
        )
    if numbers.shape[:1] != pixels.shape[:1]:
        raise UserError(f"there are {len(pixels)} images and {numbers.size} labels")
    if not len(pixels):
        raise UserError("there are no samples")
    if pixels.dtype.kind not in "biufO":
        raise UserError(f"images are {pixels.dtype}; should be numbers")
    pixels, notes = _in_order(pixels)
    white = white_of(pixels)
    if white is None and pixels.dtype.kind in "iu":
        raise uncertain_white(pixels, "as images / 255 or images / 1, floats in [0,1]")
    if white == 255 and pixels.dtype != np.uint8:
        notes.append(f"images are whole numbers ({pixels.dtype}): 255 is taken as white")
    found = pixels_of(pixels, float(white or 1))
    images = checked_images(found.rows(slice(None)), len(pixels), found.scale)
    return Samples(images, numbers, classes, found.scale, tuple(notes))


def with_targets(samples: Samples, targets: Any) -> Samples:
    """The samples with a column `targets` of class numbers or names [N].

    Raises UserError for another shape.
    """
    values = _array(targets)
    if values.shape != samples.labels.shape:
        raise UserError(
            f"targets have shape {values.shape}: give a class, or one for each of the "
            f"{len(samples.labels)} samples"
        )
    return dataclasses.replace(samples, columns={"targets": values.tolist()})


def with_fixed(samples: Split, fixed: Any) -> Split:
    """The samples with entries that no attack may change: numbers of features, or a mask [*].

    Raises UserError for those that do not fit, and where nothing is left to change.
    """
    free = free_entries(_array(fixed), tuple(samples.images.shape[1:]))
    if not free.any():
        raise UserError("all entries are fixed, so there is nothing to attack; fix fewer of them")
    notes = (*samples.notes, fixed_note(free))
    mask = None if free.all() else torch.from_numpy(free)
    return dataclasses.replace(samples, free=mask, notes=notes)


def _in_order(images: NDArray[Any]) -> tuple[NDArray[Any], list[str]]:
    """Images with their channels first where they certainly come last, and what was concluded."""
    if images.ndim == 3:
        return images[:, None], [f"images of shape {images.shape} are taken as grey: one channel"]
    if images.ndim == 4 and channels_last(images.shape):
        return images.transpose(0, 3, 1, 2), [
            f"images of shape {images.shape} have their channels last: they are put first"
        ]
    return images, []


def _array(values: Any) -> NDArray[Any]:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    try:
        found: NDArray[Any] = np.asarray(values)
        return found
    except ValueError as error:
        raise UserError(f"images and labels should each be one array ({reason(error)})") from None


def _collected(source: Dataset[Any] | DataLoader[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The images and labels of all pairs."""
    batched = isinstance(source, DataLoader) and source.batch_size is not None
    batched = batched or (isinstance(source, DataLoader) and source.batch_sampler is not None)
    images, labels = list[NDArray[Any]](), list[NDArray[Any]]()
    for n, pair in enumerate(_pairs(source)):
        if not isinstance(pair, tuple | list) or len(pair) < 2:
            raise UserError(
                f"item {n} of the {type(source).__name__} is no pair (image, label) "
                f"but {type(pair).__name__}"
            )
        image, label = _image(pair[0]), _array(pair[1])
        images.append(image if batched else image[None])
        labels.append(label if batched else label[None])
    if not images:
        raise UserError("there are no samples")
    try:
        return np.concatenate(images), np.concatenate(labels)
    except ValueError as error:
        raise UserError(
            f"the images are not all of one shape ({reason(error)}); resize them in the Dataset"
        ) from None


def _pairs(source: Any) -> Iterator[Any]:
    if isinstance(source, DataLoader | IterableDataset):
        yield from source
    else:
        yield from (source[i] for i in range(len(source)))


def _image(value: Any) -> NDArray[Any]:
    """An image as an array; pictures of PIL as grey or RGB, with their channels first."""
    return picture_pixels(value) if isinstance(value, Image) else _array(value)


def _class_names(source: Any) -> tuple[str, ...]:
    """The class names of torchvision's data sets, also below a DataLoader or Subset; () without."""
    while not hasattr(source, "classes") and hasattr(source, "dataset"):
        source = source.dataset
    found = getattr(source, "classes", ())
    return tuple(map(str, found)) if isinstance(found, list | tuple) else ()
