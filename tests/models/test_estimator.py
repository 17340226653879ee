"""Estimators as modules: what they say most with, the classes they know, what they learned."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Perceptron
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from robbench.core.errors import UserError
from robbench.models.estimator import Estimator, as_module
from robbench.models.external import External
from robbench.models.function import Function
from robbench.models.outputs.options import Reading
from robbench.models.state import state_of

ALL, Y = load_digits(return_X_y=True)
X = (ALL / 16)[:300]
Y = Y[:300]
IMAGES = torch.tensor(X, dtype=torch.float32).reshape(-1, 1, 8, 8)


class Names:
    """Predicts, and says no more."""

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def fit(self, X: Any, y: Any) -> None:
        self.estimator.fit(X, y)

    def predict(self, X: Any) -> Any:
        return self.estimator.predict(X)


class Boosted(Names):
    """Predicts and gives probabilities, and does not name its classes."""

    def predict_proba(self, X: Any) -> Any:
        return self.estimator.predict_proba(X)


def wrapped(estimator: Any, names: tuple[str, ...] = tuple("0123456789")) -> External:
    model = External(as_module(estimator), len(names), Reading(names=names))
    model.fit_interface(IMAGES[:2])
    return model.eval()


@pytest.mark.parametrize(
    ("kind", "method", "access"),
    [
        (LogisticRegression(max_iter=200), "decision_function", "score-based"),
        (RandomForestClassifier(10, random_state=0), "predict_proba", "score-based"),
        (KNeighborsClassifier(3), "predict_proba", "score-based"),
        (Boosted(LogisticRegression(max_iter=200)), "predict_proba", "score-based"),
        (Names(LogisticRegression(max_iter=200)), "predict", "decision-based"),
    ],
)
def test_an_estimator_is_asked_for_what_says_most(kind: Any, method: str, access: str) -> None:
    """Its logits order the classes as its own scores do; of probabilities they are logarithms."""
    kind.fit(X, Y)
    model = wrapped(kind)
    z = model(IMAGES).numpy()
    assert model.access == access
    assert (z.argmax(1) == kind.predict(X)).all()
    own = getattr(kind, method)(X)
    if method == "predict":
        own = np.eye(10)[own] - 0.5
    elif method == "predict_proba":
        np.testing.assert_allclose(np.exp(z), own, atol=1e-5)
        return
    np.testing.assert_allclose(z, own, atol=1e-4)


def test_scores_that_contradict_the_predictions_do_not_count() -> None:
    """Three columns of three classes, but of pairs of them."""
    few = Y < 3
    pairs = SVC(decision_function_shape="ovo", kernel="linear").fit(X[few], Y[few])
    model = wrapped(pairs, ("0", "1", "2"))
    assert model.interface.scale == "labels"
    assert (model(IMAGES[few]).argmax(1).numpy() == pairs.predict(X[few])).all()


def test_two_classes_have_one_score() -> None:
    few = Y < 2
    linear = LogisticRegression().fit(X[few], Y[few])
    model = wrapped(linear, ("0", "1"))
    z = model(IMAGES[few])
    own = torch.tensor(linear.decision_function(X[few]), dtype=torch.float32)
    torch.testing.assert_close(z[:, 1] - z[:, 0], own, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("names", [("0", "1"), ("no", "yes")])
def test_whole_scores_are_no_classes(names: tuple[str, ...]) -> None:
    """Those of integer weights on features of 0 and 1; only `predict` names classes."""
    draw = np.random.default_rng(0)
    rows = (draw.random((200, 20)) > 0.5).astype(np.float64)
    linear = Perceptron().fit(rows, (rows @ draw.integers(-3, 4, 20) > 0).astype(int))
    own = linear.decision_function(rows)
    assert (own == own.round()).all()
    x = torch.tensor(rows, dtype=torch.float32)
    model = External(as_module(linear), 2, Reading(names=names))
    model.fit_interface(x[:2])
    for part in (x, x[:1]):
        z = model(part).double().numpy()
        np.testing.assert_allclose(z[:, 1] - z[:, 0], own[: len(part)])


def test_classes_are_those_it_learned_by_name() -> None:
    """In the data's order, which is not that of its columns."""
    names = np.array(["three", "eight", "one"])
    few = np.isin(Y, [3, 8, 1])
    y = names[[[3, 8, 1].index(k) for k in Y[few]]]
    model = wrapped(LogisticRegression(max_iter=200).fit(X[few], y), tuple(names))
    assert (names[model(IMAGES[few]).argmax(1).numpy()] == y).all()


def test_what_was_learned_is_what_identifies_it() -> None:
    """The same training, the same content; other samples, another: for trees and neighbours too."""
    for make in (
        lambda: LogisticRegression(max_iter=50),
        lambda: RandomForestClassifier(5, random_state=0),
        lambda: KNeighborsClassifier(3),
    ):
        first, same, other = (
            state_of(Estimator(make().fit(X[:n], Y[:n]))).hash() for n in (200, 200, 201)
        )
        assert first == same != other


def test_what_gives_nothing_is_refused() -> None:
    class Broken:
        def predict(self, X: Any) -> Any:
            raise ValueError("not fitted")

    with pytest.raises(UserError, match=r"Broken gives no scores .*\(not fitted\)"):
        wrapped(Broken())
    assert isinstance(as_module(len), Function)
    with pytest.raises(UserError, match="no module and no function but int"):
        as_module(3)


def test_classes_that_it_never_saw_are_ruled_out() -> None:
    """Its numbers are the data's: columns stand where they belong, scores and predictions alike."""
    few = np.isin(Y, [2, 5, 9])
    linear = LogisticRegression(max_iter=200).fit(X[few], Y[few])
    z = wrapped(linear)(IMAGES[few]).numpy()
    np.testing.assert_allclose(z[:, [2, 5, 9]], linear.decision_function(X[few]), atol=1e-4)
    assert np.isneginf(np.delete(z, [2, 5, 9], 1)).all()
    two = np.isin(Y, [8, 3])
    model = wrapped(LogisticRegression(max_iter=200).fit(X[two], Y[two]), ("8", "3"))
    assert (np.array([8, 3])[model(IMAGES[two]).argmax(1).numpy()] == Y[two]).all()
