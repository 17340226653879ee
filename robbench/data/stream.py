"""Images that are decoded when they are asked for: memory does not grow with their number."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import zlib
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robbench.core.errors import UserError

STREAM_BYTES = 1 << 30
"""A split of more decoded bytes is streamed."""

CACHE_BYTES = 1 << 28
"""Decoded images that are kept for whoever asks again."""

BLOCK_BYTES = 1 << 25
"""Images decoded at once, or ahead."""

FIRST_SECONDS = 5.0  # of a pass over all images until the log says how far it is, then ever later

log = logging.getLogger("robbench")

Decode = Callable[[NDArray[np.int64]], NDArray[Any]]


class ColouredError(Exception):
    """An image has more channels than those before it."""

    def __init__(self, channels: int) -> None:
        self.channels = channels


class Decoder:
    """Decodes rows of a table to images of one `shape`, and keeps the latest of them.

    decode: rows [n] to images [n,C,H,W] or [n,D]; it is called from several threads. first: a row
    of that size, for the error about another one.
    """

    def __init__(self, decode: Decode, shape: Sequence[int], dtype: Any, first: int) -> None:
        self.decode = decode
        self.shape = tuple(shape)
        self.dtype = np.dtype(dtype)
        self.first = first
        size = max(int(np.prod(self.shape)) * self.dtype.itemsize, 1)
        self.block = max(BLOCK_BYTES // size, 1)  # images
        # One piece of memory, of which only what is used counts: many small ones leave holes.
        self._images = np.empty((max(CACHE_BYTES // size, 2 * self.block), *self.shape), self.dtype)
        self._places: OrderedDict[int, int] = OrderedDict()  # there, by row; the latest last
        self._lock = threading.Lock()
        self._ahead: threading.Thread | None = None
        self._coming: set[int] = set()  # rows that it decodes
        self._sums = array("H")  # of the pixels of each row when first read; 0 before

    def read(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """[n,*shape]. Raises ColouredError, and UserError as `decode` does.

        And UserError for an image that is not what it was before: its sample id would be another's.
        """
        images = np.empty((len(rows), *self.shape), self.dtype)
        for start in range(0, len(rows), self.block):
            wanted = rows[start : start + self.block]
            if self._ahead is not None and not self._coming.isdisjoint(wanted.tolist()):
                self._ahead.join()
            part = images[start : start + self.block]
            missing = self._copy_kept(wanted, part)
            if missing.any():
                different, place = np.unique(wanted[missing], return_inverse=True)
                part[missing] = self._decoded(different)[place]
        return images

    def ahead(self, rows: NDArray[np.int64]) -> None:
        """Decode some of these rows meanwhile, unless others are under way."""
        if self._ahead is not None and self._ahead.is_alive():
            return
        with self._lock:
            missing = [row for row in rows[: self.block].tolist() if row not in self._places]
        if missing:
            self._coming = set(missing)
            self._ahead = threading.Thread(target=self._try, args=(missing,), name="decode-ahead")
            self._ahead.start()

    def _try(self, rows: list[int]) -> None:
        # Whoever needs these rows decodes them again, and hears what is wrong.
        with contextlib.suppress(Exception):
            self._decoded(np.unique(rows))

    def _copy_kept(self, rows: NDArray[np.int64], images: NDArray[Any]) -> NDArray[np.bool_]:
        """Copy what is kept of some rows [n] to images [n,*]; which of them are not, [n]."""
        missing = np.zeros(len(rows), np.bool_)
        with self._lock:
            for n, row in enumerate(rows.tolist()):
                if row in self._places:
                    images[n] = self._images[self._places[row]]
                    self._places.move_to_end(row)
                else:
                    missing[n] = True
        return missing

    def _decoded(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        images = self.decode(rows)
        if images.shape[2:] != self.shape[1:]:
            # Both in one call: its error names their files.
            images = self.decode(np.concatenate([[self.first], rows]))[1:]
        if images.shape[1] > self.shape[0]:
            raise ColouredError(images.shape[1])
        images = np.broadcast_to(images, (len(rows), *self.shape))  # grey to three channels
        with self._lock:
            for row, image in zip(rows.tolist(), images, strict=True):
                self._require_unchanged(row, image)
                place = self._places.pop(row, len(self._places))
                if place == len(self._images):
                    _, place = self._places.popitem(last=False)
                self._images[place] = image
                self._places[row] = place
        return images

    def _require_unchanged(self, row: int, image: NDArray[Any]) -> None:
        if row >= len(self._sums):
            self._sums.frombytes(bytes(self._sums.itemsize * (row + 1 - len(self._sums))))
        found = 1 + zlib.crc32(image.tobytes()) % 0xFFFF
        if self._sums[row] not in (0, found):
            raise UserError(
                f"image {row} of the data has changed since it was first read: leave the files "
                "alone while a command runs, and run it again"
            )
        self._sums[row] = found


class StreamedImages:
    """Some rows of a decoder in place of a tensor [N,*]: `images[index]` is one, on the device."""

    def __init__(
        self, decoder: Decoder, rows: NDArray[np.int64], device: torch.device | None = None
    ) -> None:
        self.decoder = decoder
        self.rows = rows
        self.device = device or torch.device("cpu")

    @property
    def shape(self) -> torch.Size:
        """(N,C,H,W) or (N,D)."""
        return torch.Size((len(self.rows), *self.decoder.shape))

    @property
    def ndim(self) -> int:
        """Of the tensor it stands for."""
        return len(self.shape)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        return torch.from_numpy(self.decoder.read(self._chosen(index))).to(self.device)

    def take(self, index: Tensor | slice) -> StreamedImages:
        """The images at `index`, not decoded yet."""
        return StreamedImages(self.decoder, self._chosen(index), self.device)

    def to(self, device: torch.device) -> StreamedImages:
        """The same images, which will come on another device."""
        return StreamedImages(self.decoder, self.rows, device)

    def ahead(self, index: Tensor | slice) -> None:
        """These are asked for next: some of them are decoded in a thread that ends by itself."""
        self.decoder.ahead(self._chosen(index))

    def each(self) -> Iterator[NDArray[Any]]:
        """All images on the CPU, one by one, while the next are decoded."""
        size = self.decoder.block
        for start in range(0, len(self), size):
            block = self.decoder.read(self.rows[start : start + size])
            self.decoder.ahead(self.rows[start + size : start + 2 * size])
            yield from block

    def _chosen(self, index: Tensor | slice) -> NDArray[np.int64]:
        return self.rows[index.cpu().numpy() if isinstance(index, Tensor) else index]


def logged(images: Iterable[NDArray[Any]], count: int) -> Iterator[NDArray[Any]]:
    """Images as they come; the log says now and then how many of `count` have."""
    began = time.monotonic()
    due = FIRST_SECONDS
    for n, image in enumerate(images, 1):
        yield image
        seconds = time.monotonic() - began
        if seconds > due:
            left = seconds * (count - n) / n
            log.info("reading images: %d of %d, about %.0f s left", n, count, left)
            due = 2 * seconds


def streamed_moments(
    images: StreamedImages, scale: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel [C] of pixels in [0,1], summed up in float64."""
    channels = images.shape[1]
    total, squares, count = np.zeros(channels), np.zeros(channels), 0
    for image in images.each():
        values = image.reshape(channels, -1).astype(np.float64)
        total, squares = total + values.sum(1), squares + np.square(values).sum(1)
        count += values.shape[1]
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - np.square(mean), 0))
    white = scale if images.decoder.dtype == np.uint8 else 1
    found = (mean / white, np.maximum(std / white, 1e-3))
    mean, std = (column.astype(np.float32).tolist() for column in found)
    return tuple(mean), tuple(std)
