"""Records to export."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from robbench.analysis.exported import Measure, Record

RECORD = Record(
    run_id="aaaa11111111",
    title="ce on digits test, linf:0.15, pgd",
    settings={"model": "timm:../x", "eps": 0.15, "seed": 0, "train.lr": 0.1, "train.compile": True},
    tags={"run_id": "aaaa11111111", "git_sha": "c0ffee", "threat": "linf:0.15"},
    measures={
        "robust_accuracy": Measure(0.5, 0.25, 0.75),
        "certified_accuracy": Measure(0.125),
    },
    curves={"train_loss": [(1, 2.0), (2, 1.5)], "robust_accuracy": [(2, 0.25)]},
    epoch=2,
    started=1_700_000_000.0,
    finished=1_700_000_003.0,
)


@pytest.fixture
def a_record() -> Callable[..., Record]:
    """A record with some fields changed."""

    def make(**changes: object) -> Record:
        return dataclasses.replace(RECORD, **changes)

    return make
