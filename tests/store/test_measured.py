"""The measures of a run come back as they were written, and go with their run."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robbench.core.errors import UserError
from robbench.store.locations import sibling_table
from robbench.store.measured import (
    Measure,
    read_measures,
    read_sample_measures,
    remove_measures,
    write_measures,
)
from robbench.store.run import Run

NUMBERS = st.floats(allow_nan=True, allow_infinity=True)
MEASURES = st.lists(
    st.builds(
        Measure,
        name=st.sampled_from(["ece", "rank", "gradient-norm"]),
        points=st.sampled_from(["clean", "adversarial"]),
        split=st.sampled_from(["test", "train"]),
        value=st.none() | NUMBERS,
        detail=st.dictionaries(st.text(max_size=5), st.none() | st.lists(NUMBERS), max_size=3),
        label=st.none() | st.integers(0, 9),
    ),
    max_size=6,
)


@pytest.fixture(scope="module")
def run_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a run's file would be, in an output folder."""
    folder = tmp_path_factory.mktemp("S") / "results" / "runs"
    folder.mkdir(parents=True)
    return folder / "aaaa11111111.parquet"


def _finite(value: float | None) -> float | None:
    return value if value is None or math.isfinite(value) else None


@given(MEASURES)
def test_what_is_written_is_read(run_file: Path, measures: list[Measure]) -> None:
    """Bit-equal, in order; a number that is none becomes null, in the detail too."""
    write_measures(run_file, measures)
    assert read_measures(run_file) == [
        m._replace(
            value=_finite(m.value),
            detail={
                key: values if values is None else [_finite(v) for v in values]
                for key, values in m.detail.items()
            },
        )
        for m in measures
    ]


def test_a_run_without_measures_has_none(tmp_path: Path) -> None:
    """Which is not an empty list of them: nobody has measured it."""
    (tmp_path / "results" / "runs").mkdir(parents=True)
    run = tmp_path / "results" / "runs" / "bbbb11111111.parquet"
    assert read_measures(run) is None
    write_measures(run, [])
    assert read_measures(run) == []


def test_they_are_dropped_with_their_run(tmp_path: Path) -> None:
    """Twice does no harm."""
    (tmp_path / "results" / "runs").mkdir(parents=True)
    run = tmp_path / "results" / "runs" / "bbbb11111111.parquet"
    write_measures(run, [Measure("ece", "clean", "test", 0.5)], [])
    assert sibling_table(run, "sample_measures").exists()
    for _ in range(2):
        remove_measures(run)
        assert read_measures(run) is None
        with pytest.raises(UserError):
            read_sample_measures(run)


def test_rows_that_do_not_fit_leave_what_was_there(
    tmp_path: Path, stored: Callable[..., Run]
) -> None:
    """A name that is no text, a sample row without its columns: nothing of the new is written."""
    stored("aaaa11111111")
    run = tmp_path / "results" / "runs" / "aaaa11111111.parquet"
    assert run.exists()
    before = [Measure("ece", "clean", "test", 0.5, {"bins": [1.0]}, 3)]
    write_measures(run, before)
    with pytest.raises((ValueError, TypeError)):
        write_measures(run, [Measure(3, "clean", "test", 0.1)])  # type: ignore[arg-type]
    with pytest.raises((ValueError, TypeError)):
        write_measures(run, before, [{"nonsense": 1}])
    assert read_measures(run) == before
    assert not sibling_table(run, "sample_measures").exists()
