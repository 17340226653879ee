"""A subject made of stored runs, as `robbench card` makes it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from robbench.analysis.certified import Proofs
from robbench.analysis.comparison import KINDS, compare_read
from robbench.reports.card.facts import Subject, Weights, evaluation

WEIGHTS = Weights("model.safetensors", "0123456789abcdef" * 4)
SECRET = {
    "model": "/home/u/models/at",
    "model_arch": "wide_resnet:weights=/home/u/w.pt",
    "data": "csv:/home/u/my data/t.csv,label=ill",
    "attack": "transfer:source=/home/u/ce",
    "attack_params": json.dumps(["transfer:source=/home/u/ce"]),
    "flags": json.dumps(
        [{"name": "x", "text": "see /home/u/log"}, {"name": "loaded", "text": "secret"}]
    ),
    "tags": json.dumps(["secret"]),
    "config": json.dumps({"data_dir": "/home/u"}),
    "provenance": json.dumps({"argv": ["/home/u/bin/robbench"], "env": {"A": "secret"}}),
    "classes": json.dumps(["secret"]),
}
"""What a run may hold of the machine and the person that made it."""

ENDLESS: dict[str, Any] = {
    "norm": "l2",
    "eps": float("inf"),
    "threat": "l2:inf",
    "distance_p50": 0.53125,
    "robust_accuracy": None,
    "robust_accuracy_floor": None,
    "robust_accuracy_low": None,
    "robust_accuracy_high": None,
}


@pytest.fixture
def subject(stored: Callable[..., Any], make_samples: Callable[..., Any]) -> Callable[..., Subject]:
    """`subject(weights=None, points=..., certified=..., radius=...)`: of two runs, one endless."""

    def make(
        *,
        weights: Weights | None = WEIGHTS,
        checks: tuple[Any, ...] = (),
        points: bool = True,
        certified: float | None = None,
        radius: float | None = None,
        **changes: Any,
    ) -> Subject:
        runs = [
            stored("aaaa11111111", make_samples(40, 1, 0.4), model_hash="ab" * 8, **changes),
            stored(
                "bbbb22222222",
                make_samples(30, 2, 0.9),
                age=60,
                model_hash="ab" * 8,
                **(ENDLESS | changes),
            ),
        ]
        proven = {"aaaa11111111": Proofs(certified), "bbbb22222222": Proofs(None, radius)}
        rows = compare_read(runs, allow=KINDS, checks={}, certified=proven).rows
        return Subject(
            "at",
            "mlp:width=16",
            "ab" * 8,
            None,
            weights,
            tuple(
                evaluation(run, row, checks, points=points)
                for run, row in zip(runs, rows, strict=True)
            ),
        )

    return make


@pytest.fixture
def secret() -> dict[str, str]:
    """Changes of a run: what must not be published."""
    return dict(SECRET)
