"""Tables of features in CSV files, for models of tabular data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from robbench.core.errors import UserError, nearest
from robbench.core.spec import split_items
from robbench.data.base import Data, Table
from robbench.data.csv_file import read_csv
from robbench.data.feature_box import Box, UnitName, box_of, given_box, units_of
from robbench.data.image_files import listed
from robbench.data.labels import Labels, label_kind, number_labels
from robbench.data.split_files import SplitFiles, find_files, undivided

BOX_COLUMNS = ("feature", "low", "high")


@dataclass(frozen=True, kw_only=True)
class CSVTable(Data):
    """A table with a header: one column is the label, all others are features, numbers.

    FILE.csv, FILE-{split}.csv, or a folder of train.csv and test.csv. A feature's smallest value in
    the training data becomes 0 and its largest 1, so a budget is a share of that range; values
    beyond it are set to the nearest of both. Features are in the order of the training file.
    """

    argument: ClassVar[str] = "file"

    file: Annotated[
        str, Field(min_length=1, description="FILE.csv, FILE-{split}.csv, or a folder of them")
    ]
    label: Annotated[str, Field(min_length=1, description="the column of the classes")]
    drop: Annotated[str, Field(description="columns that are no features: (id,date)")] = ""
    fixed: Annotated[str, Field(description="features that no attack may change: (age,sex)")] = ""
    box: Annotated[
        str,
        Field(
            min_length=1,
            description=(
                "the range of each feature: train, or a CSV file with the columns feature, low, "
                "high for some of them"
            ),
        ),
    ] = "train"
    units: Annotated[
        UnitName,
        Field(
            description=(
                "what a model of yours takes: unit, features in [0,1]; raw, as in the file; "
                "standard, standardised with mean and deviation of the training data"
            )
        ),
    ] = "unit"
    renumber: Annotated[
        Literal["auto", "true", "false"],
        Field(
            description=(
                "whole numbers as labels: true numbers those that occur 0, 1, ...; auto "
                "subtracts 1 if they start at 1"
            )
        ),
    ] = "auto"

    def open(self, split: str, data_dir: Path | None, download: bool) -> Table:
        """Read a split. UserError, naming file and column, for what is no table of numbers."""
        files = find_files(self.file, split, ".csv", data_dir)
        mine = read_csv(files.path)
        train = mine if files.training == files.path else read_csv(files.training)
        names = self._features(train, mine, files)
        labels = self._labels(mine, files)
        values = _numbers(mine, names, files.path)
        training = values if train is mine else _numbers(train, names, files.training)
        ranges = self._box(box_of(training), names, data_dir)
        free = self._free(names, ranges)
        notes = [
            f"{len(names)} features in the order of {files.training.name}: {listed(names)}",
            f"{self.label}: classes in their order: {listed(labels.classes, 20)}",
            self._range_note(files),
            *labels.notes,
            *_clipped(ranges, values, names),
            *self._fixed_notes(names, ranges),
            *([] if files.splits else [undivided(files.path, len(values))]),
        ]
        return Table(
            labels.numbers,
            labels.classes,
            lambda rows: ranges.scaled(values[rows]),
            notes=tuple(notes),
            free=None if free.all() else free,
            units=units_of(self.units, ranges, training),
            columns=lambda name: _values(mine, name, files.path),
        )

    def _features(self, train: pd.DataFrame, mine: pd.DataFrame, files: SplitFiles) -> list[str]:
        """The names of the features. UserError where the two files do not have the same."""
        dropped = _listed(self.drop)
        for name in (self.label, *dropped):
            if name not in train and name not in mine:
                raise UserError(
                    f"{files.path} has no column '{name}'{nearest(name, list(map(str, mine)))}"
                )
        if self.label not in mine:
            raise UserError(f"{files.path} has no column '{self.label}', which is the label")
        names, here = (
            [name for name in map(str, frame) if name != self.label and name not in dropped]
            for frame in (train, mine)
        )
        for some, other, path, against in (
            (names, here, files.path, files.training),
            (here, names, files.training, files.path),
        ):
            if lacking := [name for name in some if name not in other]:
                raise UserError(
                    f"{path} lacks the column '{lacking[0]}' of {against.name}; "
                    f"drop=({lacking[0]}) leaves it out of both"
                )
        if not names:
            raise UserError(
                f"{files.path} has no column but {', '.join(map(str, mine))}: no features"
            )
        return names

    def _labels(self, mine: pd.DataFrame, files: SplitFiles) -> Labels:
        frames = {files.path: mine, **{path: read_csv(path) for path in files.others}}
        labels = {path: frame[self.label] for path, frame in frames.items() if self.label in frame}
        if len({_holds_text(one) for one in labels.values()}) > 1:
            # As they are written: that of a class `01` or `TRUE` in a split of only such.
            labels = {path: read_csv(path, text=self.label)[self.label] for path in labels}
        first, *others = map(_column, labels.values())
        return number_labels(first, lambda: others, (), self.renumber)

    def _box(self, ranges: Box, names: list[str], data_dir: Path | None) -> Box:
        if self.box == "train":
            return ranges
        path = find_files(self.box, "train", ".csv", data_dir).path
        given = read_csv(path)
        if lacking := [name for name in BOX_COLUMNS if name not in given]:
            raise UserError(
                f"{path} lacks the column '{lacking[0]}'; a box has the columns "
                f"{', '.join(BOX_COLUMNS)}"
            )
        bounds = _numbers(given, ["low", "high"], path)
        features = given["feature"].astype(str)
        if features.duplicated().any():
            raise UserError(f"{path} names '{features[features.duplicated()].iloc[0]}' twice")
        return given_box(
            ranges, names, dict(zip(features, map(tuple, bounds.tolist()), strict=True)), str(path)
        )

    def _free(self, names: list[str], ranges: Box) -> NDArray[np.bool_]:
        fixed = _listed(self.fixed)
        for name in fixed:
            if name not in names:
                raise UserError(f"fixed={self.fixed}: no feature '{name}'{nearest(name, names)}")
        return np.array([name not in fixed for name in names]) & (ranges.width > 0)

    def _fixed_notes(self, names: list[str], ranges: Box) -> list[str]:
        fixed = list(dict.fromkeys(_listed(self.fixed)))
        constant = [
            name
            for name, width in zip(names, ranges.width, strict=True)
            if width == 0 and name not in fixed
        ]
        return [
            f"{len(some)} of {len(names)} features are fixed{why}: {listed(some, 20)}"
            for some, why in ((fixed, ""), (constant, ", being constant"))
            if some
        ]

    def _range_note(self, files: SplitFiles) -> str:
        whose = files.training.name + ("" if self.box == "train" else f", or as {self.box} says")
        takes = {
            "unit": "models take [0,1]",
            "raw": "a model of yours takes the values of the file",
            "standard": "a model of yours takes standardised values",
        }[self.units]
        return f"0 and 1 are the smallest and largest value of a feature in {whose}; {takes}"


def _values(frame: pd.DataFrame, name: str, path: Path) -> list[Any]:
    """A further column: whole numbers or texts. UserError where it is missing, or has gaps."""
    if name not in frame:
        raise UserError(f"{path} has no column '{name}'{nearest(name, list(map(str, frame)))}")
    if frame[name].isna().any() or frame[name].dtype.kind == "f":
        raise UserError(f"{path}: column '{name}' should hold whole numbers or texts, without gaps")
    found: list[Any] = frame[name].tolist()
    return found


def _listed(text: str) -> list[str]:
    return [name for name in split_items(text) if name]


def _holds_text(labels: pd.Series) -> bool:
    return label_kind(pa.Array.from_pandas(labels).type) == "text"


def _column(labels: pd.Series) -> pa.ChunkedArray:
    """The labels for `number_labels`; whole numbers that gaps made floats are whole again."""
    values = labels.dropna()
    if values.dtype.kind == "f" and bool((values == values.round()).all()):
        labels = labels.astype("Int64")
    elif values.dtype.kind == "f":
        raise UserError(f"the labels hold {values.iloc[0]}; they should be classes, not amounts")
    return pa.chunked_array([pa.Array.from_pandas(labels)])


def _numbers(frame: pd.DataFrame, names: Sequence[str], path: Path) -> NDArray[np.float64]:
    """The columns as [N,D]. UserError for texts, empty cells and infinity."""
    values = np.empty((len(frame), len(names)))
    for place, name in enumerate(names):
        column = frame[name]
        if bad := int(column.isna().sum()):
            row = int(column.isna().to_numpy().argmax()) + 1
            raise UserError(
                f"{path}: column '{name}' has {bad} empty cells, the first in row {row}: fill "
                f"them, remove these rows, or leave the column out with drop=({name})"
            )
        try:
            numbers = pd.to_numeric(column, errors="coerce")
        except OverflowError:
            raise UserError(f"{path}: column '{name}' holds numbers that are too large") from None
        if numbers.isna().any():
            row = int(numbers.isna().to_numpy().argmax()) + 1
            seen = ", ".join(str(text)[:30] for text in column[numbers.isna()].unique()[:3])
            raise UserError(
                f"{path}: column '{name}' holds text ({seen}), no numbers, first in row {row}: "
                "write a column of 0 and 1 for each of its values, or leave it out with "
                f"drop=({name})"
            )
        values[:, place] = numbers
    endless = ~(np.abs(values) <= np.finfo(np.float32).max)
    if endless.any():
        row, place = np.argwhere(endless)[0]
        raise UserError(
            f"{path}: column '{names[place]}' is infinite in row {row + 1}, in 32-bit numbers: "
            "fix it"
        )
    return values


def _clipped(ranges: Box, values: NDArray[np.float64], names: Sequence[str]) -> list[str]:
    """The note on samples that have values outside of the box."""
    outside = ranges.outside(values)
    if not outside.any():
        return []
    columns = [names[n] for n in np.flatnonzero(outside.any(0)).tolist()]
    return [
        f"{int(outside.any(1).sum())} of {len(values)} samples have values outside of these "
        f"ranges, which are set to their ends: {listed(columns)}; box=FILE widens them"
    ]
