"""Calibration of constructed probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from robbench.metrics.calibration import calibration_bins, expected_calibration_error, logit_norms


def test_calibrated_probabilities_have_no_error() -> None:
    """Of a hundred samples at confidence 0.7 seventy are right."""
    assert expected_calibration_error(np.full(100, 0.7), np.arange(100) < 70) == pytest.approx(0)


def test_the_error_by_hand() -> None:
    """30 samples at 0.95, all wrong, 70 at 0.55, half right: 0.3 * 0.95 + 0.7 * 0.05."""
    confidence = np.repeat([0.95, 0.55], [30, 70])
    correct = np.concatenate([np.zeros(30, bool), np.arange(70) % 2 == 0])
    assert expected_calibration_error(confidence, correct) == pytest.approx(0.3 * 0.95 + 0.7 * 0.05)


def test_errors_of_one_bin_may_cancel_and_of_two_may_not() -> None:
    """0.62 (right) and 0.64 (wrong) share one of 15 bins; with 100 bins each is on its own."""
    confidence, correct = np.array([0.62, 0.64]), np.array([True, False])
    assert expected_calibration_error(confidence, correct) == pytest.approx(abs(0.5 - 0.63))
    assert expected_calibration_error(confidence, correct, bins=100) == pytest.approx(
        (0.38 + 0.64) / 2
    )


def test_bins_are_open_below_and_closed_above() -> None:
    """An edge belongs to the bin below it, 0 and 1 to the outermost ones."""
    rows = calibration_bins(np.array([0.0, 0.5, 0.5001, 1.0]), np.ones(4, bool), bins=2)
    assert [(row["low"], row["high"], row["n"]) for row in rows] == [(0, 0.5, 2), (0.5, 1, 2)]


def test_no_samples_have_no_error() -> None:
    """NaN, not 0: nothing was seen."""
    assert np.isnan(expected_calibration_error(np.zeros(0), np.zeros(0, bool)))


def test_logit_norm_knows_no_common_shift() -> None:
    """(1, -1) and (1001, 999) are the same answer."""
    assert logit_norms(np.array([[1.0, -1.0], [1001.0, 999.0]])) == pytest.approx([2**0.5] * 2)
