"""The images of Parquet files, read by row groups, of which the latest are kept."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from robbench.core.errors import UserError
from robbench.data.base import reason

T = TypeVar("T")

CACHE_BYTES = 1 << 28
"""Row groups that are kept; the latest one whatever its size."""

LARGE_BYTES = 1 << 30


class RowGroup(NamedTuple):
    """The unit that is read when one of its rows, `start` to `stop` - 1 of a split, is wanted."""

    path: Path
    number: int
    start: int
    stop: int


class Cell(NamedTuple):
    """An encoded image, its position among those wanted, and where it is, for messages."""

    position: int
    value: Any
    where: str


class RowGroups:
    """The encoded images in the column `image` of a split's files."""

    def __init__(self, paths: Sequence[Path], files: Sequence[Any], image: str) -> None:
        self.image = image
        self.groups: list[RowGroup] = []
        self.large = 0  # bytes of images in the largest group
        for path, file in zip(paths, files, strict=True):
            for number in range(file.metadata.num_row_groups):
                group = file.metadata.row_group(number)
                start = self.groups[-1].stop if self.groups else 0
                self.groups.append(RowGroup(path, number, start, start + group.num_rows))
                columns = (group.column(n) for n in range(group.num_columns))
                size = sum(
                    column.total_uncompressed_size
                    for column in columns
                    if column.path_in_schema.partition(".")[0] == image
                )
                self.large = max(self.large, size)
        self._kept: OrderedDict[RowGroup, pa.ChunkedArray] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def note(self) -> str:
        """What makes reading need much memory."""
        if self.large <= LARGE_BYTES:
            return ""
        return (
            f"a row group holds {self.large / 2**30:.1f} GiB of images, which are read at once; "
            "files written with row_group_size=1000 need less memory"
        )

    def cells(self, rows: NDArray[np.int64]) -> Iterator[Cell]:
        """The images of rows of the split, group by group. UserError for a broken file."""
        for group in self.groups:
            wanted = np.flatnonzero((rows >= group.start) & (rows < group.stop))
            if len(wanted):
                column = self._column(group)
                for i in wanted.tolist():
                    row = int(rows[i])
                    yield Cell(i, column[row - group.start], f"row {row} ({group.path})")

    def _column(self, group: RowGroup) -> pa.ChunkedArray:
        with self._lock:
            if group not in self._kept:
                self._kept[group] = _read_images(group, self.image)
            self._kept.move_to_end(group)
            while len(self._kept) > 1 and self._bytes() > CACHE_BYTES:
                self._kept.popitem(last=False)
            return self._kept[group]

    def _bytes(self) -> int:
        return sum(column.nbytes for column in self._kept.values())


def read(path: Path, action: Callable[[Path], T]) -> T:
    """What `action` reads of a file. UserError where it is broken."""
    try:
        return action(path)
    # ValueError and MemoryError come from corrupt names and sizes.
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise UserError(
            f"{path} is not a readable Parquet file ({reason(error)}); fetch it again"
        ) from error


def _read_images(group: RowGroup, image: str) -> pa.ChunkedArray:
    def images(path: Path) -> pa.Table:
        return pq.ParquetFile(path).read_row_group(group.number, columns=[image])

    table = read(group.path, images)
    if image not in table.column_names or not is_image(table.column(image).type):
        raise UserError(
            f"{group.path} has no image column '{image}', unlike the first file of its split"
        )
    return image_bytes(table.column(image))


def image_bytes(column: Any) -> Any:
    """The encoded bytes of an image column."""
    return pc.struct_field(column, "bytes") if pa.types.is_struct(column.type) else column


def is_image(kind: Any) -> bool:
    """Whether a column of this type can hold images: `struct<bytes, ...>` or binary."""
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and is_image(kind.field(index).type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
