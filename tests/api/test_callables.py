"""Estimators and functions on arrays under attack: by scores, by classes, never by gradients."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

import robbench
from robbench.core.errors import UserError

pytestmark = pytest.mark.usefixtures("one_thread")
FLAT, LABELS = load_digits(return_X_y=True)
FLAT = (FLAT / 16).astype(np.float32)
IMAGES = FLAT.reshape(-1, 1, 8, 8)


@pytest.fixture(scope="module")
def linear() -> LogisticRegression:
    return LogisticRegression(max_iter=200).fit(FLAT[:600], LABELS[:600])


def test_nothing_found_is_nearer_than_the_boundary_of_a_linear_model(
    linear: LogisticRegression,
) -> None:
    """Closed form: margin over the norm of the weights' difference, least of all classes."""
    x, y = IMAGES[:12], LABELS[:12]
    z, w = linear.decision_function(FLAT[:12]), linear.coef_
    others = [[k for k in range(10) if k != label] for label in y]

    def nearest(order: float) -> np.ndarray:
        return np.array(
            [
                min((z[i, y[i]] - z[i, k]) / np.linalg.norm(w[y[i]] - w[k], order) for k in ks)
                for i, ks in enumerate(others)
            ]
        )

    right = nearest(2) > 0
    found = robbench.evaluate(linear, x, y, "l2:inf", "hopskipjump:steps=1500").samples
    ratio = found["dist_l2"].to_numpy()[right] / nearest(2)[right]
    assert ratio.min() > 1 - 1e-3  # the box allows less
    assert np.median(ratio) < 1.5
    broken = robbench.evaluate(linear, x, y, "linf:0.2", "square:steps=300").samples
    fell = broken["adversarial"].to_numpy() & right
    assert fell.any()
    assert (nearest(1)[fell] < 0.2).all()


def test_a_forest_falls_to_scores_and_to_classes_alone() -> None:
    """Its probabilities are logits by their logarithm; each attack finds some of the samples."""
    forest = RandomForestClassifier(10, random_state=0).fit(FLAT[:600], LABELS[:600])
    x, y = IMAGES[600:612], LABELS[600:612]
    wrong = forest.predict(FLAT[600:612]) != y
    for attack in ("square:steps=100", "hopskipjump:steps=300"):
        result = robbench.evaluate(forest, x, y, "linf:0.2", attack)
        samples = result.samples
        assert (samples["clean_correct"].to_numpy() == ~wrong).all()
        assert samples["adversarial"].sum() > wrong.sum()
        points = result.points.numpy().reshape(12, -1)
        predicted = forest.predict(points.astype(np.float64))
        assert ((predicted != y) == samples["adversarial"].to_numpy()).all()
        assert abs(points - FLAT[600:612]).max() <= 0.2 + 1e-6


def test_who_names_classes_only_has_margins_of_one(linear: LogisticRegression) -> None:
    """Which is stated with the run; attacks on scores and gradients are refused."""

    def named(x: np.ndarray) -> np.ndarray:
        return linear.predict(x.reshape(len(x), -1))

    x, y = IMAGES[600:608], LABELS[600:608]
    result = robbench.evaluate(named, x, y, "linf:0.2", "hopskipjump:steps=200", classes=10)
    right = named(x) == y
    assert (result.margins["clean_margin"].to_numpy() == np.where(right, 1.0, -1.0)).all()
    assert "it names a class and gives no scores" in result.flags["interface"]
    assert result.info["model_outputs"] == "labels"
    for attack in ("square", "apgd", "autoattack"):
        with pytest.raises(UserError, match=r"predicted classes only.*hopskipjump, noise"):
            robbench.evaluate(named, x, y, "linf:0.2", attack, classes=10)


SOURCE = """
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

def fitted(n: int = 400):
    x, y = load_digits(return_X_y=True)
    return LogisticRegression(max_iter=200).fit(x[:n] / 16, y[:n])

def classes():
    model = fitted()
    return lambda x: model.predict(x.reshape(len(x), -1))

def nothing():
    return 3
"""


def test_a_factory_may_return_one(
    cli: Callable[..., Any], private: Callable[..., Path], linear: LogisticRegression
) -> None:
    """The same verdicts as in memory; what was learned is part of what the run is."""
    cwd = private("learned", SOURCE)
    common = "--data digits --threat linf:0.2 --limit 8 --json --quiet --out S"
    words = ("--attack", "square:steps=40", *common.split())
    done = cli("attack", "learned:fitted", "learned:fitted:n=300", *words, cwd=cwd)
    assert done.code == 0, done.err
    first, other = done.json["rows"]
    assert first["run_id"] != other["run_id"]
    again = cli("attack", "learned:fitted", *words, cwd=cwd)
    assert again.json["rows"][0]["run_id"] == first["run_id"]
    same = LogisticRegression(max_iter=200)
    same.fit(load_digits().data[:400] / 16, LABELS[:400])
    result = robbench.evaluate(same, "digits", threat="linf:0.2", attack="square:steps=40", limit=8)
    assert result.robust_accuracy == first["robust_accuracy"]
    refused = cli("attack", "learned:classes", *words, cwd=cwd)
    assert refused.code == 2
    assert "gives predicted classes only, square:steps=40 needs scores" in refused.err
    refused = cli("attack", "learned:nothing", *words, cwd=cwd)
    assert "its factory should return an nn.Module, a function or an estimator" in refused.err
