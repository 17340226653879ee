"""The embedded data set: scikit-learn's digits, read without importing scikit-learn."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from robbench.core.errors import UserError
from robbench.data.base import Data, Table, reason, require_split

_TRAIN_ROWS = 1200
_ROWS, _SIDE, _WHITE = 1797, 8, 16


@dataclass(frozen=True, kw_only=True)
class Digits(Data):
    """1,797 handwritten digits, 8x8, 17 grays (test part of Alpaydin and Kaynak 1998, UCI).

    They are split by position, first 1,200 for training and last 597 for the test, because
    neighbouring rows share writers.
    """

    threat: ClassVar[str | None] = "linf:0.15"

    def open(self, split: str, data_dir: Path | None, download: bool) -> Table:
        """Open `train` (1,200 rows) or `test` (597). UserError without scikit-learn's own file."""
        require_split(split)
        # Importing sklearn costs about a second; its data file is all we need.
        found = importlib.util.find_spec("sklearn")
        if found is None or found.origin is None:
            raise UserError(
                "digits are in the scikit-learn package, which is not installed; run `robbench "
                "doctor`"
            )
        path = Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz"
        try:
            table = np.loadtxt(path, delimiter=",", dtype=np.int64)
        except (OSError, ValueError, EOFError) as error:
            raise UserError(
                f"{path} cannot be read ({reason(error)}); reinstall scikit-learn"
            ) from error
        if table.shape != (_ROWS, _SIDE * _SIDE + 1) or table.min() < 0 or table.max() > _WHITE:
            raise UserError(
                f"{path} is not the digits file ({table.shape[0]} rows); reinstall scikit-learn"
            )
        part = table[:_TRAIN_ROWS] if split == "train" else table[_TRAIN_ROWS:]
        images = part[:, :-1].astype(np.uint8).reshape(-1, 1, _SIDE, _SIDE)
        return Table(part[:, -1], tuple("0123456789"), lambda rows: images[rows], scale=_WHITE)
