"""The store keeps what was finished, and finds what a person means."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from robbench.core.errors import RunError, UserError
from robbench.store import store as module
from robbench.store.epochs import read_epochs, write_epochs
from robbench.store.run import Run, read_run
from robbench.store.schema import RUNS, SAMPLES, SCHEMA_VERSION
from robbench.store.store import Store

Stored = Callable[..., Run]


def _integers(bits: int) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


_VERDICTS = st.sampled_from([(True, True), (True, False), (False, False)])  # clean_correct, robust
_ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "sample_id": st.integers(0, 2**63 - 1),
            "sample_index": st.integers(0, 2**31 - 1),
            "label": st.integers(0, 2**15 - 1),
            "clean_pred": _integers(16),
            "clean_margin": st.floats(width=32),
            "clean_pmargin": st.floats(width=32),
            "adv_pred": _integers(16),
            "adv_margin": st.floats(width=32),
            "adv_pmargin": st.floats(width=32),
            "dist_linf": st.none() | st.floats(width=32),
            "dist_l2": st.none() | st.floats(width=32),
            "broken_by": st.none() | st.text(st.characters(codec="utf-8")),
            "broken_variant": st.none() | _integers(16),
            "first_success_step": st.none() | _integers(32),
            "n_forward": st.integers(0, 2**31 - 1),
            "n_backward": st.integers(0, 2**31 - 1),
            "status": st.integers(0, 2),
            "verdict": _VERDICTS,
        }
    ),
    min_size=1,
    max_size=8,
    unique_by=(lambda row: row["sample_id"], lambda row: row["sample_index"]),
)


def _same(a: Any, b: Any) -> bool:
    return a == b or (
        isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b)
    )


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(_ROWS)
def test_any_rows_survive_store_and_shards(
    tmp_path: Path, make_run: Callable[..., Any], rows: list[dict[str, Any]]
) -> None:
    """What is written is what is read, value by value, from a run and from the shards of an unfinished one."""
    samples = []
    for row in rows:
        correct, robust = row["verdict"]
        samples.append({k: v for k, v in row.items() if k != "verdict"})
        samples[-1] |= {"clean_correct": correct, "robust": robust, "adversarial": not robust}
    samples.sort(key=lambda row: row["sample_index"])
    store = Store(tmp_path)
    partial = store.partial("abc")
    partial.append(samples[:3])
    partial.append(samples[3:])
    kept = partial.rows()
    read = read_run(store.write(make_run("abc", samples), samples)).samples.to_pylist()
    assert len(samples) == len(read) == len(kept)
    for row, *others in zip(samples, read, kept, strict=True):
        assert all(_same(row[name], other[name]) for other in others for name in row)


def test_run_row_survives(
    stored: Stored, make_samples: Callable[..., Any], make_run: Callable[..., Any]
) -> None:
    """Every fact of the runs row comes back; version and status are filled in, times are naive UTC."""
    samples = make_samples()
    given = make_run("abc", samples, subset="0:20", git_dirty=False, config='{"a":1}')
    info = stored("abc", samples, subset="0:20", git_dirty=False, config='{"a":1}').info
    times = {name: given[name].replace(tzinfo=None) for name in ("started_at", "finished_at")}
    assert info == dict.fromkeys(RUNS.names) | given | times | {
        "schema_version": SCHEMA_VERSION,
        "status": "done",
    }


def test_layout(tmp_path: Path, stored: Stored) -> None:
    """Files lie where the design says, and nothing else does."""
    stored("0123456789ab")
    files = sorted(
        str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()
    )
    assert files == ["results/runs/0123456789ab.parquet", "results/samples/0123456789ab.parquet"]
    assert Store(tmp_path).models == tmp_path / "models"
    assert (
        Store(tmp_path).run_path("0123456789ab")
        == tmp_path / "results" / "runs" / "0123456789ab.parquet"
    )


def test_any_reader_sees_one_table(tmp_path: Path, stored: Stored) -> None:
    """All sample files together are one table for pandas, without our code."""
    for run_id in ("aaaa", "bbbb"):
        stored(run_id)
    table = pq.read_table(tmp_path / "results" / "samples")
    assert table.column_names == SAMPLES.names
    assert sorted(set(table["run_id"].to_pylist())) == ["aaaa", "bbbb"]


def test_a_run_row_means_complete(
    tmp_path: Path,
    make_samples: Callable[..., Any],
    make_run: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed between samples and run row: the run does not count as done, and its shards are still there."""
    store, samples = Store(tmp_path), make_samples()
    store.partial("abc").append(samples)
    write, calls = module.write_table, []

    def killed(path: Path, *rest: Any) -> None:
        calls.append(path.parent.name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        write(path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_table", killed)
        with pytest.raises(KeyboardInterrupt):
            store.write(make_run("abc", samples), samples)
    assert calls == ["samples", "runs"]
    assert not store.has("abc")
    assert len(store.partial("abc").rows()) == len(samples)
    store.write(make_run("abc", samples), samples)
    assert store.has("abc")
    assert store.partial("abc").rows() == []


def test_bad_rows_write_nothing(
    tmp_path: Path, make_samples: Callable[..., Any], make_run: Callable[..., Any]
) -> None:
    """A run whose rows do not fit, or do not match their count, leaves no file."""
    samples = make_samples()
    for run in (
        make_run("abc", samples, model=None),
        make_run("abc", samples, n_samples=3),
        make_run("abc", samples, extra=1),
    ):
        with pytest.raises(ValueError):
            Store(tmp_path).write(run, samples)
    with pytest.raises(ValueError):
        Store(tmp_path).write(
            make_run("abc", samples), [{**row, "robust": None} for row in samples]
        )
    assert list(tmp_path.iterdir()) == []


def test_a_root_that_is_a_file(tmp_path: Path) -> None:
    """An output folder cannot be a file."""
    (tmp_path / "out").touch()
    with pytest.raises(UserError, match="is a file"):
        Store(tmp_path / "out")


class TestPartial:
    """Shards of unfinished runs."""

    def test_a_killed_run_goes_on(self, tmp_path: Path, make_samples: Callable[..., Any]) -> None:
        """Each append is one more shard; another process sees all of them, and continues the numbering."""
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
        """A temporary file left by a kill is not a shard, and a truncated shard costs only its own samples."""
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


class TestReadRun:
    """A run is its row and its samples, and both must belong together."""

    def test_samples_missing_or_of_another_run(self, tmp_path: Path, stored: Stored) -> None:
        """No samples beside the row, or those of another run: an error, and the run does not count as done."""
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


def test_epochs_survive(tmp_path: Path) -> None:
    """Epochs come back as written; what was not measured is None; a run is not a table of epochs."""
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
    row |= {"logs": None}
    rows = [row, {**row, "epoch": 1, "selected": True, "train_loss": float("inf")}]
    write_epochs(tmp_path / "epochs.parquet", rows)
    assert read_epochs(tmp_path / "epochs.parquet") == [
        {**row, "schema_version": SCHEMA_VERSION} for row in rows
    ]
    with pytest.raises(UserError, match="holds epochs"):
        read_run(tmp_path / "epochs.parquet")


def test_times_sort_runs_not_names(tmp_path: Path, stored: Stored) -> None:
    """The oldest run comes first whatever its id."""
    stored("ffff", started_at=datetime(2020, 1, 1))
    stored("0000", started_at=datetime(2021, 1, 1))
    assert [path.stem for path in Store(tmp_path).find()] == ["ffff", "0000"]
