"""What measures rest on: the first-order share against a plain loop, and rows by sample."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robbench.core.errors import UserError
from robbench.data.base import Split
from robbench.store.measured import Measure
from robbench.tasks.measure.rows import (
    ChangedError,
    flip_share,
    missing_worst,
    plain_rows,
    require_alike,
    require_same,
    sample_rows,
)


def test_measures_as_plain_values():
    """A row per measure under the columns of the measures table, with its run and model."""
    info = {"run_id": "0123456789ab", "model": "at", "data": "digits"}
    measures = [
        Measure("rank", "clean", "test", 3.0, {"of": 9}),
        Measure("ece", "worst", "test", None),
    ]
    first, second = plain_rows(info, measures)
    assert first == {
        "run_id": "0123456789ab",
        "model": "at",
        "name": "rank",
        "points": "clean",
        "split": "test",
        "class": None,
        "value": 3.0,
        "detail": {"of": 9},
    }
    assert (second["name"], second["points"], second["value"]) == ("ece", "worst", None)


MARGINS, LENGTHS = st.floats(-3, 3, width=32), st.floats(0, 9, width=32)
DUALS = {"linf": "l1", "l2": "l2", "l1": "linf"}


def _seen(**columns: list[float]) -> Any:
    n = len(next(iter(columns.values())))
    arrays = {name: np.array(values, dtype=np.float32) for name, values in columns.items()}
    return SimpleNamespace(columns=arrays, labels=torch.arange(n) % 3)


@given(
    st.lists(st.tuples(MARGINS, LENGTHS), min_size=1, max_size=20),
    st.sampled_from(sorted(DUALS)),
    st.sampled_from([0.0, 0.1, 1.0]),
)
def test_the_share_that_the_gradient_alone_flips(
    rows: list[tuple[float, float]], norm: str, eps: float
) -> None:
    """Margin at most eps times the gradient's length in the dual norm; who is wrong is flipped."""
    margin, length = ([float(v) for v in column] for column in zip(*rows, strict=True))
    clean = _seen(**{"margin": margin, f"margin_gradient_{DUALS[norm]}": length})
    found = flip_share({"norm": norm, "eps": eps, "split": "test"}, clean)
    plain = [m - eps * g for m, g in zip(margin, length, strict=True)]
    assert found.value is not None
    sure = sum(gap < -1e-6 for gap in plain) / len(plain)
    open_ = sum(gap < 1e-6 for gap in plain) / len(plain)
    assert sure - 1e-12 <= found.value <= open_ + 1e-12
    assert found.detail == {"eps": eps, "gradient": DUALS[norm]}


@pytest.mark.parametrize(("norm", "eps"), [("l2", math.inf), ("l0", 3.0), ("l0px", 3.0)])
def test_without_a_ball_there_is_no_share(norm: str, eps: float) -> None:
    """Null, with the reason; no column of it in the table of samples."""
    clean = _seen(margin=[1.0], margin_gradient_l2=[1.0], margin_gradient_linf=[1.0])
    info = {"norm": norm, "eps": eps, "split": "test"}
    found = flip_share(info, clean)
    assert found.value is None
    assert "reason" in found.detail
    assert "clean_flip" not in sample_rows(info, [5], clean, None, {})[0]


def test_rows_join_what_was_seen_by_sample() -> None:
    """Clean and worst columns beside each other; what was not observed is left out."""
    clean = _seen(margin=[1.0, -1.0], margin_gradient_l1=[2.0, 0.0], confidence=[0.5, 0.25])
    worst = _seen(confidence=[0.125, 0.0], logit_norm=[3.0, 4.0])
    info = {"norm": "linf", "eps": 0.25, "split": "test"}
    found = sample_rows(info, [70, 71], clean, worst, {"dist_linf": [0.25, None]})
    common = {"clean_margin_gradient_l1", "clean_confidence", "worst_confidence"}
    assert set(found[0]) == common | {
        "sample_id",
        "label",
        "sample_index",
        "dist_linf",
        "worst_logit_norm",
        "clean_flip",
    }
    assert [row["sample_id"] for row in found] == [70, 71]
    assert [row["label"] for row in found] == [0, 1]
    assert [row["clean_confidence"] for row in found] == [0.5, 0.25]
    assert [row["worst_logit_norm"] for row in found] == [3.0, 4.0]
    assert [row["clean_flip"] for row in found] == [False, True]


def test_a_run_without_points_has_null_worst_measures() -> None:
    """For each of the run's split and all classes together, and for what needs two points."""
    clean = [
        Measure("ece", "clean", "test", 0.1),
        Measure("ece", "clean", "test", 0.1, label=3),
        Measure("ece", "clean", "train", 0.1),
        Measure("svm_angle", "clean", "test", 0.1),
        Measure("flip_share", "clean", "test", 0.1),
    ]
    found = missing_worst(clean, "test")
    assert [m.name for m in found] == ["ece", "local_linearity"]
    assert {(m.points, m.split, m.value) for m in found} == {("worst", "test", None)}
    assert all("--store-points" in m.detail["reason"] for m in found)


def _split(n: int = 3, shape: tuple[int, ...] = (1, 2, 2), classes: str = "ab") -> Split:
    return Split(
        torch.zeros(n, *shape),
        torch.zeros(n, dtype=torch.int64),
        torch.arange(n),
        tuple(classes),
        "toy",
        "test",
    )


def test_splits_of_one_data_set_are_alike() -> None:
    """Other classes and other shapes are refused, with both."""
    require_alike(_split(), _split(5), "toy")
    with pytest.raises(UserError, match="other classes"):
        require_alike(_split(), _split(classes="abc"), "toy")
    with pytest.raises(UserError, match=r"\[1, 2, 2\] and \[3, 2, 2\]"):
        require_alike(_split(), _split(shape=(3, 2, 2)), "toy")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hash": "other"}, "other weights, settings or code"),
        ({"arch": "cnn"}, "architecture, then mlp, now cnn"),
        ({"split": _split(2)}, "data 'toy' .* are not what was attacked"),
    ],
)
def test_what_has_changed_since_the_run_is_said(changes: dict[str, Any], words: str) -> None:
    """Weights, architecture or samples; the same ones pass, in their order."""
    split = _split()
    same = SimpleNamespace(hash="h", arch="mlp", name="m", answers=None, split=split)
    info = {
        "run_id": "r",
        "model_hash": "h",
        "model_arch": "mlp",
        "answers": None,
        "data": "toy",
        "split": "test",
        "data_hash": split.fingerprint(),
    }
    subject: Any = same
    other: Any = SimpleNamespace(**{**vars(same), **changes})
    require_same(info, [0, 1, 2], subject)
    with pytest.raises(ChangedError, match="not what was attacked"):
        require_same(info, [1, 0, 2], subject)
    with pytest.raises(ChangedError, match=words):
        require_same(info, [0, 1, 2], other)
