"""Measures of all samples and of each class."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from robbench.core.freeze import frozen
from robbench.metrics.observe import find_head, inspect_model
from robbench.metrics.summary import hardest_tenth, logit_margin, summarise, svm_measures
from robbench.models.external import External

from .small import convolutional


class Odd(nn.Module):
    """A foreign model; `then` is what it does with the outputs of its last linear layer."""

    def __init__(self, then=lambda z: z, last=True):
        super().__init__()
        self.first = nn.Conv2d(1, 10, 8)
        self.last = nn.Linear(10, 10) if last else nn.Identity()
        self.then = then

    def forward(self, x):
        return self.then(self.last(self.first(x).flatten(1)))


def test_measures_without_a_head_are_null_with_a_reason(digits):
    """Everything else is there."""
    model = External(Odd(last=False), 10).eval()
    with frozen(model):
        seen = inspect_model(model, find_head(model, digits.pixels(slice(0, 8))), digits, 32)
    rows = {
        m.name: m
        for m in [*summarise(seen, "clean", "test"), *svm_measures(seen, "clean", "test", 70)]
        if m.label is None
    }
    null = {name for name, m in rows.items() if m.value is None}
    assert null == {
        "feature_margin_median",
        "effective_rank",
        "numerical_rank",
        "n_features_90",
        "svm_ratio",
        "svm_separable",
    }
    assert all("nn.Linear" in rows[name].detail["reason"] for name in null)


def test_the_svm_of_a_network_is_never_beaten(digits):
    """Ratios are at most 1, and null for the pair whose features are the same."""
    model = convolutional()
    two = dataclasses.replace(digits, labels=digits.labels % 3)
    same = two.images[two.labels == 0][:1]
    images = torch.where((two.labels > 0)[:, None, None, None], two.images, same)
    images[two.labels == 1] = same
    with frozen(model):
        split = dataclasses.replace(two, images=images)
        seen = inspect_model(model, find_head(model, split.pixels(slice(0, 8))), split, 32)
    ratio, separable = svm_measures(seen, "clean", "test", 1000)
    pairs = {tuple(row["classes"]): row for row in ratio.detail["pairs"]}
    assert pairs[0, 1]["ratio"] is None
    assert pairs[0, 1]["state"] == "not separable"
    assert separable.value == pytest.approx(2 / 3)
    assert all(row["ratio"] <= 1 + 1e-9 for row in pairs.values() if row["ratio"] is not None)
    assert all(
        pairs[pair]["margin"] == pytest.approx(row["ratio"] * row["svm"])
        for pair, row in pairs.items()
        if row["ratio"]
    )


def test_features_that_are_no_numbers_are_left_out(digits):
    """One broken row: its numbers are not finite; means, ranks and SVMs are of the rest."""
    model = convolutional()
    with frozen(model):
        seen = inspect_model(model, find_head(model, digits.pixels(slice(0, 8))), digits, 32)
    features, columns = (
        seen.features.copy(),
        {name: values.copy() for name, values in seen.columns.items()},
    )
    features[3] = np.nan
    for values in columns.values():
        if values.dtype.kind == "f":
            values[3] = np.nan
    broken = dataclasses.replace(seen, features=features, columns=columns)
    kept = np.arange(70) != 3
    rest = dataclasses.replace(
        seen,
        labels=seen.labels[kept],
        features=features[kept],
        distances=seen.distances[kept],
        columns={name: values[kept] for name, values in columns.items()},
    )
    of_all, of_rest = (
        {
            (m.name, m.label): m.value
            for m in [*summarise(s, "clean", "test"), *svm_measures(s, "clean", "test", 70)]
        }
        for s in (broken, rest)
    )
    for name in (
        "svm_ratio",
        "svm_separable",
        "effective_rank",
        "numerical_rank",
        "feature_margin_median",
        "margin_gradient_l2",
    ):
        assert of_all[name, None] == of_rest[name, None], name


def test_the_hardest_tenth_of_the_samples():
    values = np.array([*range(20), np.nan, np.inf], dtype=float)
    assert hardest_tenth(values) == 18.5
    assert hardest_tenth(values[:3]) == 2
    assert hardest_tenth(values[-1:]) is None


def test_cross_entropy_of_the_hardest_tenth_is_torchs(digits):
    model = External(Odd(), 10).eval()
    with frozen(model):
        seen = inspect_model(model, find_head(model, digits.pixels(slice(0, 8))), digits, 32)
        losses = nn.functional.cross_entropy(
            model(digits.pixels(slice(0, len(digits)))), digits.labels, reduction="none"
        )
    [found] = [
        m.value for m in summarise(seen, "clean", "test") if m.name == "cross_entropy_hardest_tenth"
    ]
    hardest = losses.topk(len(digits) // 10).values.mean().item()
    assert found == pytest.approx(hardest, rel=1e-5)


def test_logit_margins_in_a_histogram():
    """Counts, the share within 1 of zero, and what is not finite left out, by hand."""
    values = np.concatenate([np.linspace(-0.9, 0.9, 10), np.full(30, 5.0), [np.inf]])
    found = logit_margin(values)
    assert found["logit_margin_near_zero"] == (pytest.approx(10 / 41), {"width": 1.0})
    assert found["logit_margin_mean"][0] == pytest.approx(150 / 40)
    assert found["logit_margin_median"][0] == 5
    histogram = found["logit_margin_median"][1]
    assert (sum(histogram["counts"]), histogram["counts"][-1], histogram["not_finite"]) == (
        40,
        30,
        1,
    )
    assert found["logit_margin_peaks"][0] is None
