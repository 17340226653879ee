"""A folder with what an output folder can hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from robbench.store.epochs import write_epochs
from robbench.store.run import Run
from robbench.store.schema import EPOCHS
from robbench.store.store import Store

from ..reports.conftest import add_run, handmade_rows  # noqa: F401, TID252

Stored = Callable[..., Run]
Cli = Callable[..., Any]


@pytest.fixture
def two(tmp_path: Path, stored: Stored, make_samples: Callable[..., Any]) -> Path:
    """Runs of ce and at, 100 samples each; epochs of ce; a model without a run; a stopped run."""
    argv = json.dumps({"argv": ["/bin/robbench", "attack", "at", "--attack", "my attack"]})
    flags = json.dumps(
        [{"name": "vanishing-gradients", "text": "gradients are zero on 9 of 100 samples"}]
    )
    stored("aaaa11111111", make_samples(100, 1, 0.7), attack_params='["pgd:a"]')
    stored(
        "bbbb22222222",
        make_samples(100, 2, 0.3),
        model="at",
        age=60,
        provenance=argv,
        flags=flags,
        attack_params='["pgd:a"]',
    )
    for model in ("ce", "untouched"):
        (tmp_path / "models" / model).mkdir(parents=True)
        (tmp_path / "models" / model / "config.json").write_text(
            '{"schema": "robbench.model/1", "status": "done"}'
        )
    epoch: dict[str, Any] = {field.name: 0 for field in EPOCHS if not field.nullable}
    write_epochs(
        tmp_path / "models" / "ce" / "epochs.parquet",
        [epoch | {"model": "ce", "epoch": e, "selected": False} for e in (1, 2)],
    )
    Store(tmp_path).partial("cccc33333333").append(make_samples(17))
    return tmp_path
