"""Whether confidence is deserved, and how large logits are. NumPy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
BINS = 15


def calibration_bins(
    confidence: Floats, correct: NDArray[np.bool_], bins: int = BINS
) -> list[dict[str, float]]:
    """Each bin of confidences with samples: low, high, n, mean confidence, accuracy.

    There are `bins` equally wide bins (low, high] of [0,1].
    """
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    found = []
    for i in np.unique(place):
        inside = place == i
        means = {
            "confidence": float(confidence[inside].mean(dtype=np.float64)),
            "accuracy": float(correct[inside].mean()),
        }
        found.append(
            {"low": float(edges[i]), "high": float(edges[i + 1]), "n": int(inside.sum())} | means
        )
    return found


def expected_calibration_error(
    confidence: Floats, correct: NDArray[np.bool_], bins: int = BINS
) -> float:
    """Mean over samples of |accuracy - confidence| of their bin, in [0,1].

    confidence [N]: the largest probability. Equally wide bins, 15 by default: Guo et al. 2017,
    arXiv:1706.04599, eq. 3. NaN for no samples.
    """
    if not len(confidence):
        return float("nan")
    rows = calibration_bins(confidence, correct, bins)
    return float(
        sum(row["n"] * abs(row["accuracy"] - row["confidence"]) for row in rows) / len(confidence)
    )


def logit_norms(logits: Floats) -> NDArray[np.float64]:
    """[N] Euclidean norm of logits [N,K] less their mean over classes (softmax ignores it)."""
    centred = logits.astype(np.float64)
    centred -= centred.mean(1, keepdims=True)
    return np.asarray(np.linalg.norm(centred, axis=1))
