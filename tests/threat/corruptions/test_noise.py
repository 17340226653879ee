"""Noise, against what its law says of many entries."""

from __future__ import annotations

import numpy as np
import pytest

from robbench.threat.corruptions.constants import Strength
from robbench.threat.corruptions.draws import Draws
from robbench.threat.corruptions.noise import gaussian_noise, impulse_noise, shot_noise

GREY = np.full((64, 64, 3), 0.5)
N = GREY.size


def test_gaussian_noise_has_its_deviation():
    change = gaussian_noise(GREY, Strength((0.1,), 1), Draws(1)) - GREY
    assert change.std() == pytest.approx(0.1, abs=4 * 0.1 / np.sqrt(2 * N))
    assert change.mean() == pytest.approx(0, abs=4 * 0.1 / np.sqrt(N))


def test_shot_noise_counts_photons():
    """Whole numbers of them, whose variance is their mean; black stays black."""
    found = shot_noise(GREY, Strength((12,), 1), Draws(2)) * 12
    assert np.allclose(found, found.round())
    assert found.mean() == pytest.approx(6, abs=4 * np.sqrt(6 / N))
    assert found.var() == pytest.approx(6, rel=0.06)
    assert not shot_noise(0 * GREY, Strength((12,), 1), Draws(2)).any()


def test_impulse_noise_replaces_its_share_evenly_by_black_and_white():
    found = impulse_noise(GREY, Strength((0.27,), 1), Draws(3))
    black, white, kept = ((found == value).sum() for value in (0, 1, 0.5))
    assert black + white + kept == N
    spread = 4 * np.sqrt(N * 0.135 * 0.865)
    assert black == pytest.approx(0.135 * N, abs=spread)
    assert white == pytest.approx(0.135 * N, abs=spread)
