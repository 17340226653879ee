"""A table with impossible values is refused on reading, with its file and column."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robbench.core.errors import UserError
from robbench.store.measured import Measure, read_measures, write_measures
from robbench.store.sound import same_kind
from robbench.store.tables import read_sibling, read_table

Stored = Callable[..., Any]


def _changed(path: Path, name: str, values: pa.Array) -> None:
    table = pq.read_table(path)
    place = table.schema.get_field_index(name)
    pq.write_table(table.set_column(place, pa.field(name, values.type), values), path)


RUNS = [  # column, its value now, what is said
    ("eps", pa.array(["0.15"]), "holds string, not double"),
    ("n_samples", pa.array([20.0]), "holds double, not int64"),
    ("model", pa.array([b"ce"]), "holds binary, not string"),
    ("model", pa.array([None], pa.string()), "must not be null"),
    ("model", pa.array([None]), "must not be null"),
    ("started_at", pa.array([3]), "holds int64, not timestamp"),
    ("started_at", pa.array([2**62], pa.timestamp("us")), "damaged"),
    ("eps", pa.array([-1.0]), "holds -1.0"),
    ("eps", pa.array([float("nan")]), "holds nan"),
    ("n_samples", pa.array([0]), "holds 0"),
    ("robust_accuracy", pa.array([1.5]), "holds 1.5"),
    ("norm", pa.array(["l7"]), "'l7', not linf or l2 or l1 or l0"),
    ("max_time_s", pa.array(["much"]), "holds string, not double"),
    ("max_queries", pa.array([0]), "holds 0"),
    ("config", pa.array(["{"]), "config is not valid JSON"),
    ("config", pa.array(["[]"]), "config: "),
    ("config", pa.array(['{"limit": "x"}']), "config: limit: "),
    ("config", pa.array(["[" * 100_000]), "nested"),
    ("attack_params", pa.array(['{"a": 1}']), "attack_params: "),
    ("attack_params", pa.array(["[3]"]), "attack_params: 0: "),
    ("flags", pa.array(['[{"name": "x"}]']), "flags lacks 0.text"),
    ("flags", pa.array(["null"]), "flags: "),
    ("provenance", pa.array(['{"argv": 3}']), "provenance: argv"),
    ("provenance", pa.array(['{"env": {"A": 1}}']), "provenance: env.A"),
    ("train_config", pa.array(["9" * 5000]), "valid JSON"),
    ("audit_attack", pa.array(["square"]), "n_audited must not be null where audit_attack is not"),
]


@pytest.mark.parametrize(
    ("name", "values", "message"), RUNS, ids=[f"{name} {message}"[:40] for name, _, message in RUNS]
)
def test_columns_of_runs(
    tmp_path: Path, stored: Stored, name: str, values: pa.Array, message: str
) -> None:
    """Types, nulls, ranges, words and the JSON inside."""
    stored("aaaa11111111")
    path = tmp_path / "results" / "runs" / "aaaa11111111.parquet"
    _changed(path, name, values)
    with pytest.raises(UserError, match=r"aaaa11111111\.parquet") as caught:
        read_table(path, "runs")
    assert message in str(caught.value)
    if not (
        name == "started_at" or "holds string" in message
    ):  # who asks for other columns is not bothered
        assert read_table(path, "runs", ("threat", "attack")).num_rows == 1


def test_text_that_is_no_utf8(tmp_path: Path, stored: Stored) -> None:
    """Bytes that no text consists of are damage, not an error later on."""
    stored("aaaa11111111")
    path = tmp_path / "results" / "runs" / "aaaa11111111.parquet"
    _changed(path, "model", pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"]).buffers()))
    with pytest.raises(UserError, match=r"aaaa11111111\.parquet is damaged \(.*UTF"):
        read_table(path, "runs")


def test_wider_and_narrower_columns_are_read(tmp_path: Path, stored: Stored) -> None:
    """Another program may write int64 for int16, or text for a dictionary: values count."""
    stored("aaaa11111111")
    path = tmp_path / "results" / "samples" / "aaaa11111111.parquet"
    before = read_table(path, "samples")
    _changed(path, "label", pa.array(before["label"].to_pylist(), pa.int64()))
    _changed(path, "broken_by", pa.array(before["broken_by"].to_pylist(), pa.large_string()))
    assert read_table(path, "samples").to_pylist() == before.to_pylist()
    assert same_kind(pa.int8(), pa.int64())
    assert not same_kind(pa.int64(), pa.float64())
    assert not same_kind(pa.string(), pa.int64())


@pytest.mark.parametrize(
    ("detail", "message"),
    [
        ("[]", "detail: "),
        ("{", "JSON"),
        ('{"singular_values": ["x"]}', "singular_values.0"),
        ('{"singular_values": 3}', "singular"),
    ],
)
def test_details_of_measures(tmp_path: Path, stored: Stored, detail: str, message: str) -> None:
    """The JSON of a measure, whoever reads it."""
    stored("aaaa11111111")
    run = tmp_path / "results" / "runs" / "aaaa11111111.parquet"
    write_measures(run, [Measure("rank", "clean", "test", 1.0, {"singular_values": [1.0, 0.5]})])
    assert read_measures(run) == [
        Measure("rank", "clean", "test", 1.0, {"singular_values": [1.0, 0.5]})
    ]
    path = tmp_path / "results" / "measures" / "aaaa11111111.parquet"
    _changed(path, "detail", pa.array([detail]))
    for read in (
        lambda: read_measures(run),
        lambda: read_sibling(path, "measures", ("name", "detail")),
    ):
        with pytest.raises(
            UserError, match=r"measures/aaaa11111111\.parquet: column detail"
        ) as caught:
            read()
        assert message in str(caught.value)


def test_an_input_margin_needs_its_curve(tmp_path: Path, stored: Stored) -> None:
    """Both are shown in one line: one without the other, or without its facts, is refused."""
    stored("aaaa11111111")
    run = tmp_path / "results" / "runs" / "aaaa11111111.parquet"
    facts = {
        "norm": "l2",
        "runs": ["aaaa"],
        "samples": 3,
        "censored": 0,
        "reach": 1.0,
        "median_low": 0.1,
    }
    margin = Measure("input_margin_l2", "worst", "test", 0.2, facts)
    curve = Measure(
        "security_curve_l2", "worst", "test", 0.2, {"runs": ["aaaa"], "end": 1.0, "area_low": 0.1}
    )
    write_measures(run, [margin, curve])
    assert read_measures(run) == [margin, curve]
    for measures in (
        [margin],
        [margin._replace(detail={**facts, "runs": None}), curve],
        [curve._replace(detail={})],
    ):
        write_measures(run, measures)
        with pytest.raises(UserError, match=r"detail of (input_margin|security_curve)_l2"):
            read_measures(run)


@pytest.mark.parametrize("name", ["margin_consistency_l2", "brittle_auroc", "optimality"])
def test_what_rests_on_input_margins_needs_its_runs(
    tmp_path: Path, stored: Stored, name: str
) -> None:
    """And its other facts, where it has them, are what they should be."""
    stored("aaaa11111111")
    run = tmp_path / "results" / "runs" / "aaaa11111111.parquet"
    measure = Measure(name, "worst", "test", 0.2, {"runs": ["aaaa"], "norm": "l2", "used": 3})
    write_measures(run, [measure])
    assert read_measures(run) == [measure]
    for change in ({"runs": None}, {"norm": 2}, {"used": "many"}, {"reason": 1}, {"low": "x"}):
        write_measures(run, [measure._replace(detail=measure.detail | change)])
        with pytest.raises(UserError, match=f"detail of {name}|column detail"):
            read_measures(run)


@pytest.mark.parametrize("version", [b"", b"x", b"-1", b"99", b"9" * 5000, "²".encode()])
def test_versions_that_are_none(tmp_path: Path, stored: Stored, version: bytes) -> None:
    """A schema version is a number this robbench knows."""
    stored("aaaa11111111")
    path = tmp_path / "results" / "runs" / "aaaa11111111.parquet"
    table = pq.read_table(path)
    pq.write_table(
        table.replace_schema_metadata(
            {**table.schema.metadata, b"robbench.schema_version": version}
        ),
        path,
    )
    with pytest.raises(UserError, match=r"schema version 9|not written by robbench"):
        read_table(path, "runs")


def test_nobody_is_told_to_delete_what_is_not_ours(
    cli: Callable[..., Any], tmp_path: Path, stored: Stored
) -> None:
    """A page, a picture, a cut table: what to do instead is said, and the advice costs nothing."""
    stored("aaaa11111111")
    (tmp_path / "report.html").write_text("<html></html>")
    whole = (tmp_path / "results" / "runs" / "aaaa11111111.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[:-100])
    pq.write_table(pa.table({"a": [1]}), tmp_path / "mine.parquet")
    for name, advice in (
        ("report.html", "name a model, a run id"),
        ("cut.parquet", "move it away"),
        ("mine.parquet", "name the files"),
    ):
        done = cli("compare", tmp_path / name, "--out", tmp_path)
        assert (done.code, done.err.count("\n")) == (2, 1), done.err
        assert advice in done.err
        assert "delete it" not in done.err


def test_pipes_in_a_store_are_not_waited_for(
    cli: Callable[..., Any], tmp_path: Path, stored: Stored
) -> None:
    """A named pipe where a table should be, alone or among others: refused, not opened."""
    stored("aaaa11111111")
    os.mkfifo(tmp_path / "results" / "runs" / "pipe.parquet")
    for words in ("compare", f"compare {tmp_path}/results/runs/pipe.parquet"):
        done = cli(words, "--out", tmp_path)
        assert (done.code, done.err.count("\n")) == (2, 1), done.err
        assert "pipe.parquet is a device, a pipe or a socket" in done.err


def test_a_baseline_of_wrong_types(cli: Callable[..., Any], tmp_path: Path, stored: Stored) -> None:
    """Every key has its type; digits and nesting without end are no bug of ours."""
    stored("aaaa11111111")
    assert cli("baseline set aaaa11111111 --out", tmp_path).code == 0
    file = tmp_path / "results" / "baseline.json"
    entry = json.loads(file.read_text())
    for key, value in (
        ("sha256", {"runs": 3}),
        ("sha256", []),
        ("run_id", None),
        ("results", 3),
        ("set_at", {}),
        ("schema", 1),
    ):
        file.write_text(json.dumps({**entry, key: value}))
        done = cli("baseline show --out", tmp_path)
        assert (done.code, done.err.count("\n")) == (2, 1), done.err
        assert f"baseline.json: {key}" in done.err
    for text in ("", "[]", "[" * 100_000, "9" * 5000, "\0"):
        file.write_text(text)
        assert cli("gate --candidate aaaa11111111 --out", tmp_path).code == 2
