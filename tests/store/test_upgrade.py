"""Files of earlier schema versions give the rows they would give today."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robbench.analysis.comparable import differences
from robbench.core.errors import UserError
from robbench.store.run import read_run
from robbench.store.schema import SCHEMA_VERSION
from robbench.store.tables import read_table

Stored = Callable[..., Any]
RUN = "aaaa11111111"


@pytest.fixture
def former(tmp_path: Path, stored: Stored) -> Callable[[str | None, int], Path]:
    """Rewrites a run's files as version 1 or 2, with this text in the column `budget`."""
    stored(RUN)

    def rewrite(budget: str | None, version: int) -> Path:
        for kind in ("runs", "samples"):
            path = tmp_path / "results" / kind / f"{RUN}.parquet"
            table = pq.read_table(path)
            if kind == "runs":
                index = table.schema.get_field_index("schema_version")
                table = table.set_column(
                    index, "schema_version", pa.array([version], pa.int16())
                ).drop_columns(["max_time_s", "max_queries"])
                table = table.append_column("budget", pa.array([budget], pa.string()))
            facts = {**table.schema.metadata, b"robbench.schema_version": str(version).encode()}
            pq.write_table(table.replace_schema_metadata(facts), path)
        return tmp_path / "results" / "runs" / f"{RUN}.parquet"

    return rewrite


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("budget", "seconds", "queries"),
    [("120s", 120.0, None), ("0.25s", 0.25, None), ("5000q", None, 5000), (None, None, None)],
)
def test_a_budget_of_time_or_queries_is_a_limit(
    former: Callable[..., Path],
    stored: Stored,
    version: int,
    budget: str | None,
    seconds: float | None,
    queries: int | None,
) -> None:
    """The text of versions 1 and 2 is in today's columns; the run is comparable with new ones."""
    path = former(budget, version)
    run = read_run(path)
    assert (run.info["max_time_s"], run.info["max_queries"]) == (seconds, queries)
    assert "budget" not in run.info
    assert run.older == f"schema version {version}"
    today = stored("bbbb22222222").info | {"max_time_s": seconds, "max_queries": queries}
    assert run.info["schema_version"] == today["schema_version"] == SCHEMA_VERSION
    assert differences(run.info, today) == []


def test_columns_are_read_alone(former: Callable[..., Path]) -> None:
    """One of the new columns, the other, or none of them."""
    path = former("90s", 2)
    for name, value in (("max_time_s", 90.0), ("max_queries", None), ("threat", "linf:0.15")):
        table = read_table(path, "runs", (name,))
        assert table.column_names == [name]
        assert table[name].to_pylist() == [value]
        assert table.schema.metadata[b"robbench.absent"] == b""


@pytest.mark.parametrize("text", ["much", "", "90", "-3s", "1e3q", "9" * 40 + "q"])
def test_a_limit_nobody_wrote(former: Callable[..., Path], text: str) -> None:
    """The file and the column are named; who asks for other columns is not bothered."""
    path = former(text, 2)
    with pytest.raises(UserError, match=rf"{RUN}\.parquet: column budget holds '{text[:9]}"):
        read_table(path, "runs")
    assert read_table(path, "runs", ("threat",)).num_rows == 1
