"""The measures of all samples and of each class, from the observations of each sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robbench.metrics import calibration, spectrum
from robbench.metrics.feature_margin import pair_margins
from robbench.metrics.gradients import LENGTHS, VALUES
from robbench.metrics.observe import Observations
from robbench.metrics.peaks import FEWEST, peaks
from robbench.metrics.svm import largest_margin
from robbench.store.measured import Measure

NEAR_ZERO = 1.0
"""A logit margin this small is near zero: the odds against the best class are within e to 1."""

HISTOGRAM_BINS, CURVE_POINTS, MOST_PAIRS = 50, 64, 1000

Floats = NDArray[np.floating]
Value = tuple[float | None, dict[str, Any]]


def summarise(observed: Observations, points: str, split: str) -> list[Measure]:
    """The measures of samples at their clean or worst points, all but the SVM's."""
    found: list[Measure] = []

    def add(name: str, value: float | None, label: int | None = None, **detail: Any) -> None:
        found.append(Measure(name, points, split, value, detail, label))

    columns = observed.columns
    for label, members in _classes(observed.labels):
        for name, (value, detail) in logit_margin(
            columns["margin"][members].astype(np.float64)
        ).items():
            add(name, value, label, **detail)
        if "feature_margin" in columns:
            values = columns["feature_margin"][members].astype(np.float64)
            add("feature_margin_median", _middle(values), label, kind=observed.head.kind)
    if "feature_margin" not in columns:
        for name in ("feature_margin_median", "effective_rank", "numerical_rank", "n_features_90"):
            add(name, None, reason=observed.head.reason)
    for name in VALUES:
        for norm in LENGTHS:
            add(f"{name}_gradient_{norm}", _mean(columns[f"{name}_gradient_{norm}"]))
    if "local_linearity" in columns:
        add("local_linearity", _mean(columns["local_linearity"]))
    confidence, correct = columns["confidence"].astype(np.float64), columns["correct"].astype(bool)
    add("accuracy", float(correct.mean()))
    add("confidence", _mean(confidence))
    bins = calibration.calibration_bins(confidence, correct)
    error = calibration.expected_calibration_error(confidence, correct)
    add("calibration_error", error, bins=bins, n_bins=calibration.BINS)
    add("logit_norm", _mean(columns["logit_norm"]))
    add("cross_entropy_hardest_tenth", hardest_tenth(columns["cross_entropy"].astype(np.float64)))
    add("logit_margin_size", _mean(np.abs(columns["margin"].astype(np.float64))))
    if observed.features is not None:
        found += _feature_measures(observed, observed.features, points, split)
    return found


def hardest_tenth(losses: Floats) -> float | None:
    """Mean of the largest tenth of losses [N], of at least one; those not finite are left out."""
    finite = np.sort(losses[np.isfinite(losses)])
    return _mean(finite[-max(1, len(finite) // 10) :])


def logit_margin(margins: Floats) -> dict[str, Value]:
    """Mean, median, number of peaks and share near zero of logit margins [N], with their histogram.

    Peaks are None for few samples (see `peaks.py`); margins that are not finite are left out, and
    counted.
    """
    finite = margins[np.isfinite(margins)]
    counts, edges = np.histogram(finite, HISTOGRAM_BINS)
    histogram = {
        "counts": counts.tolist(),
        "edges": edges.tolist(),
        "not_finite": len(margins) - len(finite),
    }
    few = {} if len(finite) >= FEWEST else {"reason": f"fewer than {FEWEST} samples"}
    share = float((np.abs(margins) < NEAR_ZERO).mean()) if len(margins) else None
    return {
        "logit_margin_mean": (_mean(margins), {}),
        "logit_margin_median": (_middle(margins), histogram),
        "logit_margin_peaks": (peaks(finite), {"test": "silverman", **few}),
        "logit_margin_near_zero": (share, {"width": NEAR_ZERO}),
    }


def svm_measures(
    observed: Observations,
    points: str,
    split: str,
    limit: int,
    watch: Callable[[float], None] = lambda share: None,
) -> list[Measure]:
    """Per pair of classes: feature margin of the last layer over that of the hard-margin SVM.

    `svm_ratio` is the median over the pairs where the features are separable, at most 1, and
    negative where the last layer errs on some sample; `svm_separable` the share of such pairs; the
    pairs are in the detail, their ratio null where features are not separable or the optimum was
    not found. Of more than 1,000 pairs those with the smallest margins; of each class the first
    samples, `limit` over all classes.
    """

    def measure(name: str, value: float | None, **detail: Any) -> Measure:
        return Measure(name, points, split, value, detail)

    if observed.features is None or observed.distances is None:
        return [
            measure(name, None, reason=observed.head.reason)
            for name in ("svm_ratio", "svm_separable")
        ]
    finite = np.flatnonzero(np.isfinite(observed.features).all(1))
    chosen = finite[_evenly(observed.labels[finite], limit)]
    labels, features, distances = (
        observed.labels[chosen],
        observed.features[chosen],
        observed.distances[chosen],
    )
    pairs = list(combinations(np.unique(labels).tolist(), 2))
    own = pair_margins(distances, labels, pairs)
    order = sorted(np.argsort(own, kind="stable")[:MOST_PAIRS].tolist())
    rows: list[dict[str, Any]] = []
    for done, i in enumerate(order):
        (a, b), margin = pairs[i], float(own[i])
        best = largest_margin(features[labels == a], features[labels == b])
        ratio = margin / best.high if best.solved and np.isfinite(margin) else None
        state = "separable" if best.separable else "not separable"
        if best.separable and not best.solved:
            state = "separable, optimum not found"
        rows.append(
            {
                "classes": [a, b],
                "margin": margin,
                "svm": best.high if best.solved else None,
                "ratio": ratio,
                "state": state,
            }
        )
        watch((done + 1) / len(order))
    if not rows:
        return [
            measure(name, None, reason="only one class has samples")
            for name in ("svm_ratio", "svm_separable")
        ]
    ratios = [row["ratio"] for row in rows if row["ratio"] is not None]
    value = float(np.median(ratios)) if ratios else None
    facts: dict[str, Any] = {
        "pairs": rows,
        "of": len(pairs),
        "samples": len(chosen),
        "kind": observed.head.kind,
    }
    facts |= {} if ratios else {"reason": "the features of no pair of classes are separable"}
    separable = sum(row["state"] != "not separable" for row in rows) / len(rows)
    return [measure("svm_ratio", value, **facts), measure("svm_separable", separable)]


def _feature_measures(
    observed: Observations, features: Floats, points: str, split: str
) -> Iterator[Measure]:
    """Rank and contributions."""
    finite = features[np.isfinite(features).all(1)]
    s = spectrum.singular_values(finite) if len(finite) else np.zeros(0)
    detail = {"samples": len(finite), "dimension": features.shape[1]}
    shares = _thinned(spectrum.energy(s))
    yield Measure("effective_rank", points, split, spectrum.effective_rank(s), detail)
    relative = (s / s[0]).tolist()[:CURVE_POINTS] if len(s) and s[0] > 0 else []
    more = {"threshold": spectrum.NUMERICAL, "singular_values": relative, "energy": shares}
    yield Measure("numerical_rank", points, split, float(spectrum.numerical_rank(s)), detail | more)
    curve = {} if observed.curve is None else {"curve": _thinned(observed.curve)}
    for name, extra in (("n_features_90", curve), ("n_features_90_predicted", {})):
        counts = observed.columns[name].astype(np.float64)
        present = counts[counts > 0]
        detail = {"dimension": features.shape[1], "none": len(counts) - len(present), **extra}
        yield Measure(name, points, split, _middle(present), detail)


def _classes(labels: NDArray[np.int64]) -> Iterator[tuple[int | None, NDArray[np.bool_]]]:
    """All samples, then those of each class that has any."""
    yield None, np.ones(len(labels), bool)
    for label in np.unique(labels).tolist():
        yield label, labels == label


def _evenly(labels: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    """Positions of at most `limit` samples: the first of every class, the second, and so on."""
    turn = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        turn[members] = np.arange(len(members))
    return np.sort(np.lexsort((np.arange(len(labels)), turn))[:limit])


def _thinned(curve: Floats) -> dict[str, list[float]]:
    """A curve over 1, 2, ... at no more than 64 of them."""
    at = (
        np.unique(np.geomspace(1, max(len(curve), 1), CURVE_POINTS).round().astype(int))
        if len(curve)
        else np.zeros(0, int)
    )
    return {"at": at.tolist(), "share": [float(curve[i - 1]) for i in at]}


def _mean(values: NDArray[Any]) -> float | None:
    finite = values[np.isfinite(values)].astype(np.float64)
    return float(finite.mean()) if len(finite) else None


def _middle(values: NDArray[Any]) -> float | None:
    """The median; infinite values count, NaN does not."""
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else None
