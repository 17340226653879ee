"""Images of Parquet files: which row groups are read, and how many of them stay."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from robbench.data import row_groups
from robbench.data.row_groups import RowGroups


@pytest.fixture
def two_files(tmp_path: Path, write_parquet: Callable[..., None]) -> list[Path]:
    """Rows 0 to 6 and 7 to 9, each of 1,000 bytes, in groups of three: five groups."""
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    cells = [bytes([n]) * 1000 for n in range(10)]
    write_parquet(paths[0], cells[:7], [0] * 7)
    write_parquet(paths[1], cells[7:], [0] * 3, rows_per_group=2)
    return paths


def _groups(paths: list[Path]) -> RowGroups:
    return RowGroups(paths, [pq.ParquetFile(path) for path in paths], "image")


def test_rows_come_with_their_positions(two_files: list[Path]) -> None:
    """In the order of the files, whatever order is asked for; messages name row and file."""
    rows = np.array([9, 0, 6, 7, 0])
    cells = list(_groups(two_files).cells(rows))
    assert [cell.position for cell in cells] == [1, 4, 2, 3, 0]
    assert [cell.value.as_py()[0] for cell in cells] == [0, 0, 6, 7, 9]
    assert cells[3].where == f"row 7 ({two_files[1]})"


@pytest.mark.parametrize(("kept", "reads"), [(10**6, 5), (7000, 5 + 5), (0, 5 + 5)])
def test_few_groups_are_kept(
    kept: int, reads: int, two_files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neighbouring rows cost one reading; a second pass reads again what did not fit."""
    read = []
    original = row_groups._read_images
    monkeypatch.setattr(row_groups, "CACHE_BYTES", kept)
    monkeypatch.setattr(
        row_groups,
        "_read_images",
        lambda group, image: read.append(group) or original(group, image),
    )
    groups = _groups(two_files)
    for _ in range(2):
        for row in range(10):
            (cell,) = groups.cells(np.array([row]))
            assert cell.value.as_py()[0] == row
    assert len(read) == reads


def test_huge_groups_are_told(two_files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """They are read at once, whatever is streamed."""
    assert _groups(two_files).note == ""
    monkeypatch.setattr(row_groups, "LARGE_BYTES", 2000)
    assert "row_group_size=1000" in _groups(two_files).note
