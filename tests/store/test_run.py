"""A finished run is read whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from robbench.core.errors import UserError
from robbench.store.run import Run, from_memory, read_run
from robbench.store.store import Store

Stored = Callable[..., Run]


class TestReadRun:
    """A run is its row and its samples, and both must belong together."""

    def test_samples_missing_or_of_another_run(self, tmp_path: Path, stored: Stored) -> None:
        """No samples beside the row, or another run's: an error, and the run is not done."""
        stored("aaaa")
        stored("bbbb")
        runs, samples = tmp_path / "results" / "runs", tmp_path / "results" / "samples"
        (samples / "bbbb.parquet").replace(samples / "aaaa.parquet")
        with pytest.raises(UserError, match="does not hold the 20 samples of run aaaa"):
            read_run(runs / "aaaa.parquet")
        with pytest.raises(UserError, match=r"samples/bbbb\.parquet does not exist"):
            read_run(runs / "bbbb.parquet")
        assert not Store(tmp_path).has("bbbb")

    def test_a_table_of_several_runs(self, tmp_path: Path, stored: Stored) -> None:
        """A runs file holds one run."""
        stored("aaaa")
        path = tmp_path / "results" / "runs" / "aaaa.parquet"
        pq.write_table(pq.read_table(path).slice(0, 0), path)
        with pytest.raises(UserError, match="holds 0 runs, not one"):
            read_run(path)
        with pytest.raises(UserError, match="holds 0 runs, not one"):
            Store(tmp_path).find()


@pytest.mark.parametrize(
    ("model", "arch", "loss", "known"),
    [
        ("plain", "__main__:Net", None, True),
        ("plain", "nets:Net", None, True),
        ("nets:make", "nets:make", None, False),
        ("cnn:width=4", "cnn:width=4", None, False),
        ("cnn", "cnn", None, False),
        ("at", "nets:make:width=3", "cross-entropy", False),
        ("foreign", None, None, False),
    ],
)
def test_models_that_only_python_had(
    model: str, arch: str | None, loss: str | None, known: bool
) -> None:
    """Not those of a spec, of private code that was named, of a folder, or of other tools."""
    info = {"model": model, "model_source": None, "model_arch": arch, "loss": loss}
    assert from_memory(info) == known
    renamed = {**info, "model": "other", "model_source": model}
    assert from_memory(renamed) == known
