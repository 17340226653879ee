"""A run's row against its samples."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robbench.analysis.claims import contradictions, with_contradictions
from robbench.analysis.summary import summarise
from robbench.store.run import Run

Stored = Callable[..., Run]
Cli = Callable[..., Any]


def test_what_robbench_wrote_does_not_contradict_itself(
    stored: Stored, make_samples: Callable[..., Any]
) -> None:
    """With a budget and without one; its own flags stay."""
    for n, eps in enumerate((0.1, float("inf"))):
        flags = json.dumps([{"name": "a", "text": "b"}])
        run = stored(f"aaa{n}", make_samples(40, n), eps=eps, flags=flags)
        assert contradictions(run) == []
        assert with_contradictions(run) == [{"name": "a", "text": "b"}]


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        ({"robust_accuracy": 0.9}, "robust accuracy 90.0% (its samples: "),
        ({"clean_accuracy": 0.01}, "clean accuracy 1.0% (its samples: "),
        ({"n_robust": 39, "n_adversarial": 1}, "n_adversarial 1 (its samples: "),
        ({"adv_margin_p50": 9.5}, "adv_margin_p50 9.5 (its samples: "),
        ({"n_forward": 1}, "n_forward 1 (its samples: "),
        ({"clean_margin_mean": float("nan")}, "clean_margin_mean nan (its samples: "),
        ({"robust_accuracy_low": 0.9}, "robust_accuracy_low 0.9 (its samples: "),
    ],
)
def test_a_forged_row_is_named(stored: Stored, lie: dict[str, Any], said: str) -> None:
    run = stored("aaaa")
    (text,) = contradictions(Run({**run.info, **lie}, run.samples))
    assert said in text


def test_a_forged_distance_is_named(stored: Stored, make_samples: Callable[..., Any]) -> None:
    """Of a run without a budget, whose result it is; half of the samples have no finite one."""
    rows = make_samples(9, 0)
    for n, row in enumerate(rows):
        row |= {"adversarial": n < 6, "robust": n >= 6, "clean_correct": True}
        row |= {"dist_linf": 0.01 * n if n < 6 else None}
    run = stored("aaaa", rows, eps=float("inf"), distance_p50=0.04)
    assert contradictions(run) == []
    (text,) = contradictions(Run({**run.info, "distance_p50": 0.5}, run.samples))
    assert "distance_p50 0.5 (its samples: 0.04)" in text


def test_the_distance_that_is_shown_is_the_samples(
    cli: Cli, stored: Stored, make_samples: Callable[..., Any], tmp_path: Path
) -> None:
    """Whatever the row says."""
    rows = make_samples(9, 0)
    for n, row in enumerate(rows):
        row |= {"adversarial": n < 6, "robust": n >= 6, "clean_correct": True}
        row |= {"dist_linf": 0.01 * n if n < 6 else None}
    stored("aaaa", rows, eps=float("inf"), threat="linf:inf", distance_p50=0.5)
    done = cli("show aaaa --out", tmp_path)
    assert "median distance linf 0.04" in done.out
    assert cli("show aaaa --json --out", tmp_path).json["summary"]["distance_p50"] == (
        pytest.approx(0.04)
    )


def test_many_lies_are_counted(stored: Stored) -> None:
    run = stored("aaaa")
    lies = dict.fromkeys(("n_forward", "n_backward", "n_clean_correct", "n_adversarial"), 0)
    (text,) = contradictions(Run({**run.info, **lies}, run.samples))
    assert "and 1 more: a file was changed" in text


def test_forged_samples_are_named(stored: Stored) -> None:
    """A fallen sample that was written as robust, without a new row."""
    run = stored("aaaa")
    robust = run.samples["robust"].to_pylist()
    robust[robust.index(False)] = True
    at = run.samples.schema.get_field_index("robust")
    forged = run.samples.set_column(at, run.samples.schema.field(at), pa.array(robust))
    text, odd = contradictions(Run(run.info, forged))
    assert "robust accuracy" in text
    assert "misclassified without an attack: 1; a file" in odd


def test_a_forged_row_and_forged_samples_that_agree(stored: Stored) -> None:
    """A fallen sample that was written as robust in both files is still adversarial."""
    run = stored("aaaa")
    robust = run.samples["robust"].to_pylist()
    robust[robust.index(False)] = True
    at = run.samples.schema.get_field_index("robust")
    forged = run.samples.set_column(at, run.samples.schema.field(at), pa.array(robust))
    (text,) = contradictions(Run(run.info | summarise(forged), forged))
    assert "misclassified without an attack: 1; a file" in text


def test_a_row_without_the_column_claims_nothing(stored: Stored) -> None:
    """Tables of an older schema may lack a count."""
    run = stored("aaaa")
    assert contradictions(Run({**run.info, "n_unfinished": None}, run.samples)) == []


def test_commands_say_so(cli: Cli, two: Path) -> None:
    """`show`, `compare` and `gate` show the samples' numbers, and that the row says otherwise."""
    path = two / "results" / "runs" / "bbbb22222222.parquet"
    table = pq.read_table(path)
    at = table.schema.get_field_index("robust_accuracy")
    pq.write_table(table.set_column(at, table.schema.field(at), pa.array([0.99])), path)
    for command in ("show at", "compare ce at", "gate --baseline ce --candidate at --max-drop 90"):
        done = cli(f"{command} --out", two)
        assert "robust accuracy 99.0%" in " ".join((done.out + done.err).split()), command
