"""What a data set is: a table opened without decoding, and the split an experiment works on.

Images stay bytes (uint8, `scale` is the value of white) until a batch is taken; models always see
float32 in [0,1].
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import math
import textwrap
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robbench.core.errors import UserError, text_of
from robbench.data.stream import StreamedImages, streamed_moments

INFO_ENTRIES = 1 << 27
"""Pixels from which mean and deviation are computed."""


class Units(NamedTuple):
    """What a model of the user's own takes in place of x in [0,1]: low + width * x, per feature."""

    low: tuple[float, ...]  # [D]
    width: tuple[float, ...]  # [D]


@dataclasses.dataclass(frozen=True)
class DataInfo:
    """What models and losses know of the data.

    Shape (C,H,W) or (D,), class names, mean and deviation [C] of pixels in [0,1]. `units`: see
    there; None where models take [0,1].
    """

    shape: tuple[int, ...]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    units: Units | None = None


@dataclasses.dataclass(frozen=True)
class Table:
    """One split, opened but not decoded.

    `decode` maps row positions [n] to images [n,C,H,W], uint8 or float32. Where it is `lazy`, it
    reads only what it is asked for, and may be called from several threads: then a large split is
    streamed. `notes` are sentences for the user about how the files were read. `free` [C,H,W] bool:
    the entries that an attack may change; None = all of them. `units`: of models of the user's own;
    None = [0,1]. `columns` gives the values of a further column, one for each row, or raises
    UserError for one that there is none of.
    """

    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    decode: Callable[[NDArray[np.int64]], NDArray[np.uint8] | NDArray[np.float32]]
    scale: int = 255
    notes: tuple[str, ...] = ()
    free: NDArray[np.bool_] | None = None
    lazy: bool = False
    units: Units | None = None
    columns: Callable[[str], Sequence[Any]] | None = None

    def __post_init__(self) -> None:
        if self.labels.ndim != 1 or self.labels.dtype.kind not in "iu":
            raise UserError(
                f"labels should be one whole number a sample, not {self.labels.dtype} of shape "
                f"{self.labels.shape}; "
                "one-hot labels need argmax(1)"
            )
        object.__setattr__(self, "labels", self.labels.astype(np.int64, copy=False))
        bad = np.flatnonzero((self.labels < 0) | (self.labels >= len(self.classes)))
        if len(bad):
            row, label = int(bad[0]), int(self.labels[bad[0]])
            raise UserError(
                f"label {label} of row {row} is out of range: the data has {len(self.classes)} "
                "classes"
            )

    def by_id(
        self, rows: NDArray[np.int64], ids: NDArray[np.int64]
    ) -> Callable[[str], dict[int, Any]] | None:
        """What reads a further column of the rows [n], by their sample ids; None without any."""
        read = self.columns
        if read is None:
            return None

        def values(name: str) -> dict[int, Any]:
            column, places = read(name), zip(ids.tolist(), rows.tolist(), strict=True)
            return {sample: column[row] for sample, row in places}

        return values


class Data(ABC):
    """A registered data set: a frozen dataclass of options; `threat`: its usual threat model."""

    threat: ClassVar[str | None] = None

    @abstractmethod
    def open(self, split: str, data_dir: Path | None, download: bool) -> Table:
        """Open a split such as `train`. UserError when it is missing, or its files are broken."""


@dataclasses.dataclass(frozen=True)
class Split:
    """The samples of one split, subset applied.

    images [N,C,H,W] uint8 (value / scale is the pixel) or float32 in [0,1], in a large split
    decoded when they are indexed; labels [N] int64; ids [N] int64, a hash of the image's bytes, its
    label and its count among equals: stable under limits, shuffles and reordering. `notes` are
    sentences for the user about how the data were read, `whole` the names of all classes of the
    data, of which a subset has chosen some. `free` [C,H,W] bool: the entries that an attack may
    change; None = all of them. `units`: of models of the user's own; None = [0,1]. `targets` [N]
    int64: the classes to reach under a targeted threat model, where they are known before the model
    is asked. `columns` reads a further column of the data, by sample id.
    """

    images: Tensor | StreamedImages
    labels: Tensor
    ids: Tensor
    classes: tuple[str, ...]
    name: str
    split: str
    scale: int = 255
    notes: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()
    free: Tensor | None = None
    units: Units | None = None
    targets: Tensor | None = None
    columns: Callable[[str], dict[int, Any]] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def pixels(self, index: Tensor | slice) -> Tensor:
        """The images at `index` as float32 in [0,1], [n,C,H,W]."""
        images = self.images[index]
        return images if images.is_floating_point() else images.to(torch.float32) / self.scale

    @property
    def streamed(self) -> bool:
        """Whether the images are decoded when they are asked for, because they are many."""
        return isinstance(self.images, StreamedImages)

    def ahead(self, index: Tensor | slice) -> None:
        """These images are asked for next: streamed ones are decoded meanwhile."""
        if isinstance(self.images, StreamedImages):
            self.images.ahead(index)

    def to(self, device: torch.device) -> Split:
        """The same split with its tensors on another device."""
        return dataclasses.replace(
            self,
            images=self.images.to(device),
            labels=self.labels.to(device),
            ids=self.ids.to(device),
            free=None if self.free is None else self.free.to(device),
            targets=None if self.targets is None else self.targets.to(device),
        )

    def take(self, index: Tensor) -> Split:
        """The samples at `index`."""
        streamed = isinstance(self.images, StreamedImages)
        images = self.images.take(index) if streamed else self.images[index]
        return dataclasses.replace(
            self,
            images=images,
            labels=self.labels[index],
            ids=self.ids[index],
            targets=None if self.targets is None else self.targets[index],
        )

    def fingerprint(self, *, ordered: bool = False) -> str:
        """A hash of what the samples are, whatever their order, or in this order."""
        ids = self.ids.cpu().numpy()
        ids = ids if ordered else np.sort(ids)
        return hashlib.blake2b(ids.tobytes(), digest_size=8).hexdigest()

    def fixed(self) -> str | None:
        """A hash of which entries may not change; None where all may."""
        if self.free is None:
            return None
        return hashlib.blake2b(self.free.cpu().numpy().tobytes(), digest_size=8).hexdigest()

    def info(self) -> DataInfo:
        """Shape, classes, mean and deviation per channel, from about 10,000 samples.

        From fewer of large images: as float32 they would not fit in memory.
        """
        mean, std = self._moments
        return DataInfo(tuple(self.images.shape[1:]), self.classes, mean, std, self.units)

    @functools.cached_property
    def _moments(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        count = min(10_000, max(1, INFO_ENTRIES // math.prod(self.images.shape[1:])))
        # Spread, because folders of images are ordered by class.
        spread = slice(None, None, max(1, len(self) // count))
        if isinstance(self.images, StreamedImages):
            return streamed_moments(self.images.take(spread), self.scale)
        pixels = self.pixels(spread)
        axes = (0, *range(2, pixels.ndim))
        # The population's deviation: defined for a single row of a (D,)-shaped table too.
        return (
            tuple(pixels.mean(axes).tolist()),
            tuple(pixels.std(axes, correction=0).clamp(min=1e-3).tolist()),
        )


def require_classes(split: Split) -> None:
    """Raise UserError unless there are at least two classes to tell apart."""
    if len(split.classes) < 2:
        raise UserError(
            f"data '{split.name}' has only the class '{split.classes[0]}'; a classifier needs at "
            "least two"
        )


def class_difference(one: Sequence[str], other: Sequence[str], where: tuple[str, str]) -> str:
    """Where two class lists differ, as `class 9 is 'nine' in WHERE and 'Nine' in the OTHER`."""
    counts = (
        f"{where[0]} has {len(one)} classes, {where[1]} {len(other)}; "
        if len(one) != len(other)
        else ""
    )
    pairs = list(itertools.zip_longest(one, other))
    n = next((n for n, (a, b) in enumerate(pairs) if a != b), len(pairs))
    if n == len(pairs):
        return f"{where[0]} and {where[1]} have the same classes"
    first, second = (f"'{name}'" if name is not None else "none" for name in pairs[n])
    more = sum(a != b for a, b in pairs) - 1
    rest = f", and {more} more differ" if more else ""
    order = "; the names are the same, their order is not" if sorted(one) == sorted(other) else ""
    return f"{counts}class {n} is {first} in {where[0]} and {second} in {where[1]}{rest}{order}"


def sample_ids(images: Iterable[NDArray[Any]], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """63-bit content ids [N]: blake2b of image, label and number of equal samples before."""
    seen: Counter[bytes] = Counter()
    ids = np.empty(len(labels), np.int64)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        content = hashlib.blake2b(
            np.ascontiguousarray(image).tobytes() + int(label).to_bytes(4, "big"), digest_size=8
        ).digest()
        repeat = seen[content]
        seen[content] += 1
        if repeat:
            content = hashlib.blake2b(content + repeat.to_bytes(4, "big"), digest_size=8).digest()
        ids[i] = int.from_bytes(content, "big") >> 1
    return ids


def require_split(split: str, known: tuple[str, ...] = ("train", "test")) -> None:
    """UserError when a source does not have this split."""
    if split not in known:
        raise UserError(f"there is no split '{split}'; use {' or '.join(known)}")


def reason(error: BaseException) -> str:
    """`ValueError: the first line of its message`: errors of other libraries in one line.

    Where that line ends with a colon, the beginnings of the next two say what it announces.
    """
    lines = text_of(error).strip().splitlines()
    if not lines:
        return type(error).__name__
    said = lines[:1]
    if said[0].rstrip().endswith(":"):
        said += [textwrap.shorten(line, 100, placeholder=" ...") for line in lines[1:3]]
    return f"{type(error).__name__}: {' '.join(said)}"
