"""The finished samples of unfinished runs are kept."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from robbench.core.errors import RunError
from robbench.store.run import Run
from robbench.store.store import Store

Stored = Callable[..., Run]


class TestPartial:
    """Shards of unfinished runs."""

    def test_a_killed_run_goes_on(self, tmp_path: Path, make_samples: Callable[..., Any]) -> None:
        """Each append is one more shard; another process sees all and continues the numbers."""
        rows = make_samples(30)
        for part in (rows[:10], [], rows[10:20]):
            Store(tmp_path).partial("abc").append(part)
        assert [row["sample_id"] for row in Store(tmp_path).partial("abc").rows()] == [
            row["sample_id"] for row in rows[:20]
        ]
        Store(tmp_path).partial("abc").append(rows[20:])
        names = sorted(path.name for path in (tmp_path / "results" / "partial" / "abc").iterdir())
        assert names == ["000000.parquet", "000001.parquet", "000002.parquet"]

    def test_killed_while_writing_a_shard(
        self, tmp_path: Path, make_samples: Callable[..., Any]
    ) -> None:
        """A temporary file of a kill is no shard, and a truncated shard costs its own samples."""
        rows, partial = make_samples(30), Store(tmp_path).partial("abc")
        for start in (0, 10, 20):
            partial.append(rows[start : start + 10])
        folder = tmp_path / "results" / "partial" / "abc"
        (folder / ".000003.parquet.1234.tmp").write_bytes(b"half")
        shard = folder / "000001.parquet"
        shard.write_bytes(shard.read_bytes()[:-100])
        assert [row["sample_id"] for row in partial.rows()] == [
            row["sample_id"] for row in rows[:10] + rows[20:]
        ]
        partial.append(rows[10:20])
        assert {row["sample_id"] for row in partial.rows()} == {row["sample_id"] for row in rows}

    def test_a_sample_written_twice_counts_once(
        self, tmp_path: Path, make_samples: Callable[..., Any]
    ) -> None:
        """Two processes that did the same samples do not double them."""
        rows, partial = make_samples(10), Store(tmp_path).partial("abc")
        partial.append(rows)
        partial.append(rows[5:])
        assert len(partial.rows()) == 10

    def test_shards_of_other_runs_are_not_ours(
        self, tmp_path: Path, make_samples: Callable[..., Any]
    ) -> None:
        """A shard copied from another run is ignored."""
        partial = Store(tmp_path).partial("abc")
        Store(tmp_path).partial("other").append(make_samples(3))
        (tmp_path / "results" / "partial" / "other").rename(
            tmp_path / "results" / "partial" / "abc"
        )
        assert partial.rows() == []

    def test_nothing_there(self, tmp_path: Path) -> None:
        """No shards: no rows, and discarding them is no error."""
        partial = Store(tmp_path).partial("abc")
        assert partial.rows() == []
        partial.discard()

    def test_discard_that_fails_is_a_run_error(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Something that cannot be removed is reported in one line, and is whole."""
        (tmp_path / "results" / "partial" / "abc" / "points").mkdir(parents=True)

        def refuse(path: Path, other: Path) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(Path, "rename", refuse)
        with pytest.raises(RunError, match=r"cannot remove .*abc: Input/output error"):
            Store(tmp_path).partial("abc").discard()
        assert (tmp_path / "results" / "partial" / "abc" / "points").is_dir()
