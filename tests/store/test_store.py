"""The store keeps what was finished, and finds what a person means."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from robbench.core.errors import UserError
from robbench.store import store as module
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
    """What is written is read back, value by value, from a run and from shards."""
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
    """Every fact of the runs row comes back; version and status are set, times naive UTC."""
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
    """Killed between samples and run row: the run is not done, its shards remain."""
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


def test_times_sort_runs_not_names(tmp_path: Path, stored: Stored) -> None:
    """The oldest run comes first whatever its id."""
    stored("ffff", started_at=datetime(2020, 1, 1))
    stored("0000", started_at=datetime(2021, 1, 1))
    assert [path.stem for path in Store(tmp_path).find()] == ["ffff", "0000"]


def test_models_that_are_not_finished_are_not_to_be_attacked(tmp_path):
    """Those that are come first; where none is, its training is to be finished."""
    store = Store(tmp_path)
    for name, status in (("half", "running"), ("whole", "done")):
        (store.models / name).mkdir(parents=True)
        (store.models / name / "config.json").write_text(
            json.dumps({"schema": "robbench.model/1", "status": status})
        )
    with pytest.raises(UserError, match=r"run first robbench attack whole --out"):
        store.find()
    (store.models / "whole" / "config.json").unlink()
    (store.models / "whole").rmdir()
    with pytest.raises(UserError, match=r"half not finished: give the train command again"):
        store.find()
