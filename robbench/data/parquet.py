"""Images in Parquet files, in the layout of Hugging Face data sets."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field

from robbench.core.errors import UserError, nearest
from robbench.data.base import Data, Table, reason
from robbench.data.folder import find_folder
from robbench.data.images import decode_image, stack_images

T = TypeVar("T")

_IMAGE_NAMES = ("image", "img", "images", "picture", "png", "jpg")
_LABEL_NAMES = ("label", "labels", "fine_label", "target", "targets", "class", "y")


@dataclass(frozen=True, kw_only=True)
class ParquetImages(Data):
    """A folder of Parquet files with a column of encoded images (`struct<bytes, path>` or binary) and one of integer labels.

    Files are DIR/{split}*.parquet, DIR/{split}/*.parquet or Hugging Face's DIR/data/{split}-*.parquet (the folder in the
    middle may have any name). Class names come from the `huggingface` schema metadata, else they are the numbers that occur.
    """

    argument: ClassVar[str] = "dir"

    dir: Annotated[str, Field(min_length=1, description="folder of Parquet files; relative to here or the data folder")]
    image: Annotated[str, Field(min_length=1, description="image column; auto finds it by type and name")] = "auto"
    label: Annotated[str, Field(min_length=1, description="label column; auto finds it by type and name")] = "auto"

    def open(self, split: str, data_dir: Path | None, download: bool) -> Table:
        """Read the labels of a split; images are decoded later.

        UserError when files or columns are missing, ambiguous, of the wrong type, corrupt or truncated.
        """
        root = find_folder(self.dir, data_dir)
        paths = split_files(root, split)
        if not paths:
            raise UserError(f"no Parquet files of the split '{split}' in {root}; name them {split}*.parquet or {split}/*.parquet")
        files = [_read(path, pq.ParquetFile) for path in paths]
        schema = files[0].schema_arrow
        image = _find_column(schema, self.image, "image", _is_image, _IMAGE_NAMES, paths[0])
        label = _find_column(schema, self.label, "label", pa.types.is_integer, _LABEL_NAMES, paths[0])
        labels = np.concatenate([_labels(path, label) for path in paths])
        classes = _class_names(schema, label) or self._numbered_classes(root, label)
        groups = _row_groups(paths, files)

        def decode(rows: NDArray[np.int64]) -> NDArray[np.uint8]:
            images: list[Any] = [None] * len(rows)
            where = [""] * len(rows)
            for path, number, start, stop in groups:
                wanted = np.flatnonzero((rows >= start) & (rows < stop))
                if len(wanted):
                    column = _image_bytes(path, number, image)
                    for i in wanted.tolist():
                        where[i] = f"row {int(rows[i])} ({path})"
                        images[i] = _decode(column[int(rows[i]) - start], where[i])
            return stack_images(images, where, hint="resize them before, or use folder:DIR,size=N")

        return Table(labels, classes, decode)

    def _numbered_classes(self, root: Path, label: str) -> tuple[str, ...]:
        # Counted over both splits: a split that happens to lack the last class must not change the number of classes.
        paths = {path for split in ("train", "test") for path in split_files(root, split)}
        largest = max((int(found.max()) for path in paths if len(found := _labels(path, label))), default=-1)
        return tuple(str(number) for number in range(largest + 1))


def split_files(root: Path, split: str) -> list[Path]:
    """The sorted Parquet files of a split in a folder, of the first layout that fits; [] when there are none.

    UserError when several inner folders have files of the split: they are different configurations of a data set.
    """
    for pattern in (f"{split}*.parquet", f"{split}/*.parquet"):
        if found := sorted(root.glob(pattern)):
            return found
    found = sorted(root.glob(f"*/{split}-*.parquet"))
    folders = sorted({path.parent for path in found})
    if len(folders) > 1:
        raise UserError(
            f"several folders in {root} hold the split '{split}': {', '.join(p.name for p in folders)}; name one of them"
        )
    return found


def _read(path: Path, action: Callable[[Path], T]) -> T:
    try:
        return action(path)
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:  # the last two from corrupt names and sizes
        raise UserError(f"{path} is not a readable Parquet file ({reason(error)}); fetch it again") from error


def _labels(path: Path, label: str) -> NDArray[np.int64]:
    column = _read(path, lambda path: pq.ParquetFile(path).read(columns=[label]))
    if label not in column.column_names or not pa.types.is_integer(column.column(label).type):
        raise UserError(f"{path} has no integer column '{label}', unlike the first file of its split")
    if column.column(label).null_count:
        raise UserError(f"{path}: {column.column(label).null_count} rows have no label in column '{label}'; remove them")
    labels: NDArray[np.int64] = column.column(label).to_numpy().astype(np.int64)
    return labels


def _row_groups(paths: Sequence[Path], files: Sequence[Any]) -> list[tuple[Path, int, int, int]]:
    # (file, row group, first row, one after its last row): the unit that is read when one of its rows is wanted.
    groups, start = [], 0
    for path, file in zip(paths, files, strict=True):
        for number in range(file.metadata.num_row_groups):
            stop = start + file.metadata.row_group(number).num_rows
            groups.append((path, number, start, stop))
            start = stop
    return groups


def _image_bytes(path: Path, number: int, image: str) -> Any:
    table = _read(path, lambda path: pq.ParquetFile(path).read_row_group(number, columns=[image]))
    if image not in table.column_names or not _is_image(table.column(image).type):
        raise UserError(f"{path} has no image column '{image}', unlike the first file of its split")
    column = table.column(image)
    return pc.struct_field(column, "bytes") if pa.types.is_struct(column.type) else column


def _decode(cell: Any, where: str) -> NDArray[np.uint8]:
    if not cell.is_valid:
        raise UserError(f"{where} has no image bytes; the files must embed their images")
    return decode_image(cell.as_py(), where)


def _is_image(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _is_image(kind.field(index).type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _find_column(schema: Any, name: str, what: str, fits: Callable[[Any], bool], usual: tuple[str, ...], path: Path) -> str:
    """The column to use as `what`; a name that was given must exist and fit, else type and usual name decide."""
    if name != "auto":
        if name not in schema.names:
            raise UserError(f"{path} has no column '{name}'{nearest(name, schema.names)}")
        if not fits(schema.field(name).type):
            raise UserError(f"{path}: column '{name}' holds {schema.field(name).type}, which cannot be the {what}")
        return name
    fitting: list[str] = [field.name for field in schema if fits(field.type)]
    known = [column for column in fitting if column.lower() in usual]
    for found in (known, fitting):
        if len(found) == 1:
            return found[0]
    if not fitting:
        raise UserError(f"{path} has no {what} column; its columns are {', '.join(schema.names)}")
    raise UserError(f"{path} has several {what} columns: {', '.join(known or fitting)}; choose one with {what}=NAME")


def _class_names(schema: Any, label: str) -> tuple[str, ...]:
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names = features[label]["names"]
    except (KeyError, TypeError, ValueError):
        return ()
    return tuple(str(name) for name in names) if isinstance(names, list) else ()
