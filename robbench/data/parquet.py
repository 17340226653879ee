"""Images in Parquet files, in the layout of Hugging Face data sets."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from robbench.core.errors import UserError, nearest
from robbench.data.base import Table, class_difference, reason
from robbench.data.image_files import SIZE_HINT, USUAL_SPLITS, ImageFiles, find_folder, listed
from robbench.data.images import decode_image, kinds, stack_images
from robbench.data.labels import Labels, NoLabelsError, class_features, joined, label_column, no_labels, number_labels
from robbench.data.shards import Shards, missing, shards

T = TypeVar("T")
Prepare = Callable[[Image.Image], Image.Image]

_IMAGE_NAMES = ("image", "img", "images", "picture", "png", "jpg")


@dataclass(frozen=True, kw_only=True)
class ParquetImages(ImageFiles):
    """A folder of Parquet files with a column of encoded images (`struct<bytes, path>` or binary) and one of labels.

    Files are DIR/SPLIT.parquet, DIR/SPLIT-00000-of-00003.parquet, DIR/SPLIT/*.parquet, or numbered files in an inner folder
    (Hugging Face's `data`). Labels are whole numbers, texts, booleans or categories. Class names come from the `huggingface`
    schema metadata, else from the labels themselves: sorted texts, or the numbers up to the largest one. Images that are all
    grey have one channel, others three. The EXIF orientation is applied; transparency is laid on white.
    """

    image: Annotated[str, Field(min_length=1, description="image column; auto finds it by type and name")] = "auto"
    label: Annotated[str, Field(min_length=1, description="label column; auto finds it by metadata, name and values")] = "auto"
    renumber: Annotated[
        Literal["auto", "true", "false"],
        Field(description="labels without names: true numbers those that occur, auto counts labels that start at 1 from 0"),
    ] = "auto"

    def open(self, split: str, data_dir: Path | None, download: bool) -> Table:
        """Read the labels of a split; images are decoded later.

        UserError when files, columns or labels are missing, ambiguous, of the wrong type, corrupt or truncated.
        """
        found = shards(find_folder(self.dir, data_dir))
        paths = found.of(split)
        if not paths:
            there = f"; there are the splits {listed(splits)}" if (splits := found.splits()) else ""
            raise UserError(
                f"no Parquet files of the split '{split}' in {found.root}{there}; name them {split}.parquet, "
                f"{split}-00000-of-00001.parquet or {split}/*.parquet"
            )
        files = [_read(path, pq.ParquetFile) for path in paths]
        schema = files[0].schema_arrow
        image = _image_column(schema, self.image, paths[0])
        others = [name for name in USUAL_SPLITS if name != split]
        try:
            label, note = self._label(paths[0], schema, image)
            labels = self._numbers(paths, label, lambda: [path for name in others for path in found.of(name)])
        except NoLabelsError as error:
            labelled = [name for name in others if self._has_labels(_files_of(found, name))]
            raise no_labels(split, str(error), labelled) from error
        groups = _row_groups(paths, files)
        channels = self.wanted_channels
        if channels is None:
            looked_at = (cell for name in (split, *others) for cell in _first_cells(_files_of(found, name), image))
            channels = 3 if "colour" in kinds(looked_at) else None

        def decode(rows: NDArray[np.int64]) -> NDArray[np.uint8]:
            images = _images(rows, groups, image, self.prepare)
            return stack_images(images, len(rows), channels=channels, hint=f"{SIZE_HINT}, for example parquet:DIR,size=32")

        notes = (note, missing(paths), *labels.notes)
        return Table(labels.numbers, labels.classes, decode, notes=tuple(text for text in notes if text))

    def _label(self, path: Path, schema: pa.Schema, image: str) -> tuple[str, str | None]:
        def columns(names: list[str]) -> pa.Table:
            return _read(path, lambda path: pq.ParquetFile(path).read(columns=names))

        return label_column(schema, self.label, image, columns, path)

    def _numbers(self, paths: list[Path], label: str, others: Callable[[], list[Path]]) -> Labels:
        columns: list[pa.ChunkedArray] = []
        for path in paths:
            if (column := _column(path, label)) is None:
                raise UserError(f"{path} has no column '{label}', unlike the first file of its split")
            columns.append(column)

        def elsewhere() -> list[pa.ChunkedArray]:
            return [column for path in others() if (column := _column(path, label)) is not None]

        names = _class_names(paths, label)
        try:
            return number_labels(joined(columns, label, paths), elsewhere, names, self.renumber)
        except UserError as error:
            raise type(error)(f"column '{label}' of {paths[0]}: {error}") from error

    def _has_labels(self, paths: list[Path]) -> bool:
        try:
            schema = _read(paths[0], pq.read_schema)
            label = self._label(paths[0], schema, _image_column(schema, self.image, paths[0]))[0]
            return len(self._numbers(paths[:1], label, list).numbers) > 0
        except (UserError, IndexError):  # broken, or no files
            return False


def _read(path: Path, action: Callable[[Path], T]) -> T:
    try:
        return action(path)
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:  # the last two from corrupt names and sizes
        raise UserError(f"{path} is not a readable Parquet file ({reason(error)}); fetch it again") from error


def _class_names(paths: Sequence[Path], label: str) -> tuple[str, ...]:
    """The class names that the files of a split declare, () where none does. UserError when two of them differ."""
    declared = {path: names for path in paths if (names := class_features(_read(path, pq.read_schema)).get(label))}
    first, *others = declared or [paths[0]]
    for path in others:
        if declared[path] != declared[first]:
            apart = class_difference(declared[first], declared[path], (str(first), str(path)))
            raise UserError(f"the files of a split name its classes differently: {apart}")
    return declared.get(first, ())


def _column(path: Path, name: str) -> pa.ChunkedArray | None:
    table = _read(path, lambda path: pq.ParquetFile(path).read(columns=[name]))
    return table.column(name) if name in table.column_names else None


def _row_groups(paths: Sequence[Path], files: Sequence[Any]) -> list[tuple[Path, int, int, int]]:
    # (file, row group, first row, one after its last row): the unit that is read when one of its rows is wanted.
    groups, start = [], 0
    for path, file in zip(paths, files, strict=True):
        for number in range(file.metadata.num_row_groups):
            stop = start + file.metadata.row_group(number).num_rows
            groups.append((path, number, start, stop))
            start = stop
    return groups


def _first_cells(paths: list[Path], image: str) -> Iterator[bytes]:
    """The encoded images at the beginning of the first and last file, of each row group at most 100."""
    for path in dict.fromkeys((*paths[:1], *paths[-1:])):
        # What is broken is reported when, and if, it is decoded.
        with contextlib.suppress(pa.ArrowException, OSError, ValueError, MemoryError):
            file = pq.ParquetFile(path, pre_buffer=False)
            if image not in file.schema_arrow.names or not _is_image(file.schema_arrow.field(image).type):
                continue
            for group in {0, file.num_row_groups - 1} if file.num_row_groups else ():
                first = next(file.iter_batches(batch_size=100, row_groups=[group], columns=[image]), None)
                yield from (cell for cell in (_bytes(first.column(0)).to_pylist() if first else []) if cell)


def _files_of(found: Shards, split: str) -> list[Path]:
    """The files of another split, as far as they are clear: that they are not is told to who wants them."""
    with contextlib.suppress(UserError):
        return found.of(split)
    return []


def _images(
    rows: NDArray[np.int64], groups: Sequence[tuple[Path, int, int, int]], image: str, prepare: Prepare
) -> Iterator[tuple[int, NDArray[np.uint8], str]]:
    for path, number, start, stop in groups:
        wanted = np.flatnonzero((rows >= start) & (rows < stop))
        if len(wanted):
            column = _image_bytes(path, number, image)
            for i in wanted.tolist():
                where = f"row {int(rows[i])} ({path})"
                yield i, _decode(column[int(rows[i]) - start], where, prepare), where


def _image_bytes(path: Path, number: int, image: str) -> Any:
    table = _read(path, lambda path: pq.ParquetFile(path).read_row_group(number, columns=[image]))
    if image not in table.column_names or not _is_image(table.column(image).type):
        raise UserError(f"{path} has no image column '{image}', unlike the first file of its split")
    return _bytes(table.column(image))


def _bytes(column: Any) -> Any:
    return pc.struct_field(column, "bytes") if pa.types.is_struct(column.type) else column


def _decode(cell: Any, where: str, prepare: Prepare) -> NDArray[np.uint8]:
    if not cell.is_valid:
        raise UserError(f"{where} has no image bytes; the files must embed their images")
    return decode_image(cell.as_py(), where, prepare)


def _is_image(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _is_image(kind.field(index).type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _image_column(schema: pa.Schema, name: str, path: Path) -> str:
    """The image column: a name that was given must exist and fit, else type and usual name decide."""
    if name != "auto":
        if name not in schema.names:
            raise UserError(f"{path} has no column '{name}'{nearest(name, schema.names)}")
        if not _is_image(schema.field(name).type):
            raise UserError(f"{path}: column '{name}' holds {schema.field(name).type}, which cannot be the image")
        return name
    fitting: list[str] = [field.name for field in schema if _is_image(field.type)]
    known = [column for column in fitting if column.lower() in _IMAGE_NAMES]
    for found in (known, fitting):
        if len(found) == 1:
            return found[0]
    if not fitting:
        raise UserError(f"{path} has no image column; its columns are {', '.join(schema.names)}")
    raise UserError(f"{path} has several image columns: {', '.join(known or fitting)}; choose one with image=NAME")
