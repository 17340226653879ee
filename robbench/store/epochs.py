"""The epochs of a training, as a table beside the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robbench.store.from_rows import to_table
from robbench.store.schema import EPOCHS, SCHEMA_VERSION
from robbench.store.tables import read_table, write_table


def write_epochs(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the epochs of a training, one row each (schema_version may be left out).

    Raises as `Store.write` does.
    """
    model = str(rows[0]["model"]) if rows else ""
    write_table(Path(path), to_table(EPOCHS, rows, schema_version=SCHEMA_VERSION), model)


def read_epochs(path: Path) -> list[dict[str, Any]]:
    """The epochs of a training.

    Raises UserError, naming the file, when it is missing, damaged, foreign or newer.
    """
    return list(read_table(Path(path), "epochs").to_pylist())
