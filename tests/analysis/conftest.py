"""A folder with what an output folder can hold."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
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


@pytest.fixture
def run(stored: Callable[..., Run], make_samples: Callable[..., Any]) -> Callable[..., Run]:
    """A run in one norm and budget from the sizes it found: None = robust, 0 = wrong when clean.

    margins: the clean logit margins, drawn at random if not given.
    """
    count = iter(range(100))

    def make(
        threat: str,
        sizes: list[float | None],
        *,
        first: int = 0,
        other: float | None = None,
        margins: Sequence[float] | None = None,
        **changes: Any,
    ) -> Run:
        norm, eps = threat.split(":")
        rows = make_samples(len(sizes), first=first)
        for i, (row, size) in enumerate(zip(rows, sizes, strict=True)):
            row |= {"clean_margin": margins[i]} if margins is not None else {}
            row |= {
                "adversarial": size is not None,
                "robust": size is None,
                "clean_correct": size != 0,
            }
            row |= {
                "dist_linf": None,
                "dist_l2": None,
                f"dist_{norm}": 0.01 if size is None else size,
            }
            if other is not None:
                row["dist_l2" if norm == "linf" else "dist_linf"] = other
            row |= {"status": changes.get("status", 0)}
        facts = {name: value for name, value in changes.items() if name != "status"}
        number = next(count)
        return stored(
            f"run{number}", rows, age=number, norm=norm, eps=float(eps), threat=threat, **facts
        )

    return make
