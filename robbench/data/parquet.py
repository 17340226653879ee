"""Images in Parquet files, in the layout of Hugging Face data sets."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from robbench.core.errors import UserError, nearest
from robbench.core.threads import in_threads
from robbench.data.base import Table, class_difference
from robbench.data.image_files import SIZE_HINT, USUAL_SPLITS, ImageFiles, find_folder, listed
from robbench.data.images import decode_image, kinds, stack_images
from robbench.data.labels import (
    Labels,
    NoLabelsError,
    class_features,
    joined,
    label_column,
    no_labels,
    number_labels,
)
from robbench.data.row_groups import Cell, RowGroups, image_bytes, is_image, read
from robbench.data.shards import Shards, missing, shards

Prepare = Callable[[Image.Image], Image.Image]

_IMAGE_NAMES = ("image", "img", "images", "picture", "png", "jpg")


@dataclass(frozen=True, kw_only=True)
class ParquetImages(ImageFiles):
    """A folder of Parquet files with a column of encoded images and one of labels.

    The image column is `struct<bytes, path>` or binary. Files are DIR/SPLIT.parquet,
    DIR/SPLIT-00000-of-00003.parquet, DIR/SPLIT/*.parquet, or numbered files in an inner folder
    (Hugging Face's `data`). Labels are whole numbers, texts, booleans or categories. Class names
    come from the `huggingface` schema metadata, else from the labels themselves: sorted texts, or
    the numbers up to the largest one. Images that are all grey have one channel, others three. The
    EXIF orientation is applied; transparency is laid on white.
    """

    image: Annotated[
        str, Field(min_length=1, description="image column; auto finds it by type and name")
    ] = "auto"
    label: Annotated[
        str,
        Field(min_length=1, description="label column; auto finds it by metadata, name and values"),
    ] = "auto"
    renumber: Annotated[
        Literal["auto", "true", "false"],
        Field(
            description=(
                "labels without names: true numbers those that occur 0, 1, ...; auto "
                "subtracts 1 if they start at 1"
            )
        ),
    ] = "auto"

    def open(self, split: str, data_dir: Path | None, download: bool) -> Table:
        """Read the labels of a split; images are decoded later.

        UserError when files, columns or labels are missing, ambiguous, of the wrong type, corrupt
        or truncated.
        """
        found = shards(find_folder(self.dir, data_dir))
        paths = found.of(split)
        if not paths:
            there = f"; there are the splits {listed(splits)}" if (splits := found.splits()) else ""
            raise UserError(
                f"no Parquet files of the split '{split}' in {found.root}{there}; name them "
                f"{split}.parquet, {split}-00000-of-00001.parquet or {split}/*.parquet"
            )
        files = [read(path, pq.ParquetFile) for path in paths]
        schema = files[0].schema_arrow
        image = _image_column(schema, self.image, paths[0])
        others = [name for name in USUAL_SPLITS if name != split]
        try:
            label, note = self._label(paths[0], schema, image)
            labels = self._numbers(
                paths, label, lambda: [path for name in others for path in found.of(name)]
            )
        except NoLabelsError as error:
            labelled = [name for name in others if self._has_labels(_files_of(found, name))]
            raise no_labels(split, str(error), labelled) from error
        groups = RowGroups(paths, files, image)
        channels = self.wanted_channels
        if channels is None:
            looked_at = (
                cell
                for name in (split, *others)
                for cell in _first_cells(_files_of(found, name), image)
            )
            channels = 3 if "colour" in kinds(looked_at) else None

        def decode(rows: NDArray[np.int64]) -> NDArray[np.uint8]:
            return stack_images(
                in_threads(lambda cell: _decode(cell, self.prepare), groups.cells(rows)),
                len(rows),
                channels=channels,
                hint=f"{SIZE_HINT}, for example parquet:DIR,size=32",
            )

        notes = (note, missing(paths), *labels.notes, groups.note)
        return Table(
            labels.numbers,
            labels.classes,
            decode,
            notes=tuple(text for text in notes if text),
            lazy=True,
            columns=lambda name: _values(paths, schema, name),
        )

    def _label(self, path: Path, schema: pa.Schema, image: str) -> tuple[str, str | None]:
        def columns(names: list[str]) -> pa.Table:
            return read(path, lambda path: pq.ParquetFile(path).read(columns=names))

        return label_column(schema, self.label, image, columns, path)

    def _numbers(self, paths: list[Path], label: str, others: Callable[[], list[Path]]) -> Labels:
        columns: list[pa.ChunkedArray] = []
        for path in paths:
            if (column := _column(path, label)) is None:
                raise UserError(
                    f"{path} has no column '{label}', unlike the first file of its split"
                )
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
            schema = read(paths[0], pq.read_schema)
            label = self._label(paths[0], schema, _image_column(schema, self.image, paths[0]))[0]
            return len(self._numbers(paths[:1], label, list).numbers) > 0
        except (UserError, IndexError):  # broken, or no files
            return False


def _class_names(paths: Sequence[Path], label: str) -> tuple[str, ...]:
    """The class names that a split's files declare, or (). UserError when two differ."""
    declared = {
        path: names
        for path in paths
        if (names := class_features(read(path, pq.read_schema)).get(label))
    }
    first, *others = declared or [paths[0]]
    for path in others:
        if declared[path] != declared[first]:
            apart = class_difference(declared[first], declared[path], (str(first), str(path)))
            raise UserError(f"the files of a split name its classes differently: {apart}")
    return declared.get(first, ())


def _column(path: Path, name: str) -> pa.ChunkedArray | None:
    table = read(path, lambda path: pq.ParquetFile(path).read(columns=[name]))
    return table.column(name) if name in table.column_names else None


def _values(paths: Sequence[Path], schema: pa.Schema, name: str) -> list[Any]:
    """A column of whole numbers or texts. UserError for one that is missing, or holds others."""
    if name not in schema.names:
        raise UserError(f"{paths[0]} has no column '{name}'{nearest(name, schema.names)}")
    kind = schema.field(name).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not any(
        fits(kind) for fits in (pa.types.is_integer, pa.types.is_string, pa.types.is_large_string)
    ):
        raise UserError(f"{paths[0]}: column '{name}' holds {kind}, not whole numbers or texts")
    found: list[Any] = []
    for path in paths:
        if (column := _column(path, name)) is None:
            raise UserError(f"{path} has no column '{name}', unlike the first file of its split")
        found += column.to_pylist()
    return found


def _first_cells(paths: list[Path], image: str) -> Iterator[bytes]:
    """The first encoded images of the first and last file, 100 a row group at most."""
    for path in dict.fromkeys((*paths[:1], *paths[-1:])):
        # What is broken is reported when, and if, it is decoded.
        with contextlib.suppress(pa.ArrowException, OSError, ValueError, MemoryError):
            file = pq.ParquetFile(path, pre_buffer=False)
            if image not in file.schema_arrow.names or not is_image(
                file.schema_arrow.field(image).type
            ):
                continue
            for group in {0, file.num_row_groups - 1} if file.num_row_groups else ():
                first = next(
                    file.iter_batches(batch_size=100, row_groups=[group], columns=[image]), None
                )
                yield from (
                    cell
                    for cell in (image_bytes(first.column(0)).to_pylist() if first else [])
                    if cell
                )


def _files_of(found: Shards, split: str) -> list[Path]:
    """The files of another split, where they are clear; only its own users hear otherwise."""
    with contextlib.suppress(UserError):
        return found.of(split)
    return []


def _decode(cell: Cell, prepare: Prepare) -> tuple[int, NDArray[np.uint8], str]:
    if not cell.value.is_valid:
        raise UserError(f"{cell.where} has no image bytes; the files must embed their images")
    return cell.position, decode_image(cell.value.as_py(), cell.where, prepare), cell.where


def _image_column(schema: pa.Schema, name: str, path: Path) -> str:
    """The image column: the name given, which must fit, else by type and usual name."""
    if name != "auto":
        if name not in schema.names:
            raise UserError(f"{path} has no column '{name}'{nearest(name, schema.names)}")
        if not is_image(schema.field(name).type):
            raise UserError(
                f"{path}: column '{name}' holds {schema.field(name).type}, which cannot be the "
                "image"
            )
        return name
    fitting: list[str] = [field.name for field in schema if is_image(field.type)]
    known = [column for column in fitting if column.lower() in _IMAGE_NAMES]
    for found in (known, fitting):
        if len(found) == 1:
            return found[0]
    if not fitting:
        raise UserError(f"{path} has no image column; its columns are {', '.join(schema.names)}")
    raise UserError(
        f"{path} has several image columns: {', '.join(known or fitting)}; choose one with "
        "image=NAME"
    )
