"""The epochs of a training come back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from robbench.core.errors import UserError
from robbench.store.epochs import read_epochs, write_epochs
from robbench.store.run import Run, read_run
from robbench.store.schema import SCHEMA_VERSION

Stored = Callable[..., Run]


def test_epochs_survive(tmp_path: Path) -> None:
    """Epochs come back as written; unmeasured values are None; a run is no table of epochs."""
    row = {
        "model": "ce",
        "epoch": 0,
        "learning_rate": 0.1,
        "train_loss": 2.5,
        "clean_accuracy": 0.5,
        "robust_accuracy": None,
    }
    row |= {
        "clean_margin": 0.25,
        "adv_margin": None,
        "seconds": 1.5,
        "n_forward": 10,
        "n_backward": 20,
        "selected": False,
    }
    row |= {"logs": None, "predicted_classes": None}
    rows = [row, {**row, "epoch": 1, "selected": True, "train_loss": float("inf")}]
    write_epochs(tmp_path / "epochs.parquet", rows)
    assert read_epochs(tmp_path / "epochs.parquet") == [
        {**row, "schema_version": SCHEMA_VERSION} for row in rows
    ]
    with pytest.raises(UserError, match="holds epochs"):
        read_run(tmp_path / "epochs.parquet")
