"""CSV files as tables of pandas: their separator, their header, and what is none."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path

import pandas as pd
import pyarrow as pa

from robbench.core.errors import UserError
from robbench.data.base import reason

_HEADER_BYTES = 1 << 20


def read_csv(path: Path, *, text: str | None = None) -> pd.DataFrame:
    """A table with a header, separated by commas, semicolons or tabs.

    A first column without a name numbers the rows and is left out. `text` names a column whose
    values stay as they are written. Raises UserError for what is no such file, and for names that
    are empty or given twice.
    """
    header, separator = _header(path)
    names = [name.strip() for name in header]
    unnamed = names[:1] == [""]
    if "" in names[1:]:
        raise UserError(f"{path}: column {names.index('', 1) + 1} has no name in the first line")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"{path} has two columns '{twice}'")
    try:
        with warnings.catch_warnings():
            # Of rows with more fields than there are names, which would be cut.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                path,
                sep=separator,
                skiprows=1,
                header=None,
                names=names,
                index_col=False,
                low_memory=False,
                skipinitialspace=True,
                keep_default_na=False,  # a class may be called None or NA
                na_values=[""],
                dtype=None if text is None else {text: str},
            )
    except pd.errors.ParserWarning as error:
        raise UserError(f"{path} has rows of more fields than its first line") from error
    except Exception as error:
        raise UserError(f"{path} cannot be read as CSV ({reason(error)})") from error
    if not len(frame):
        raise UserError(f"{path} has a header but no rows")
    return frame.iloc[:, 1:] if unnamed else frame


def _header(path: Path) -> tuple[list[str], str]:
    """The fields of the first line, and what separates them."""
    try:
        with pa.input_stream(str(path), compression="detect") as stream:
            line = stream.read(_HEADER_BYTES).partition(b"\n")[0].decode("utf-8-sig").rstrip("\r")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no text in UTF-8, so no CSV file") from error
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"{path} cannot be read ({reason(error)})") from error
    if not line.strip():
        raise UserError(f"{path} begins with an empty line; the first line should name the columns")
    separator = next((mark for mark in ",;\t" if mark in line), ",")
    try:
        return next(csv.reader([line], delimiter=separator, skipinitialspace=True)), separator
    except csv.Error as error:
        raise UserError(
            f"{path}: the first line cannot be read as CSV ({reason(error)}); lines end with a "
            "line feed"
        ) from error
