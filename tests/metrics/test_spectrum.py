"""Ranks of matrices whose singular values are chosen."""

from __future__ import annotations

import numpy as np
import pytest

from robbench.metrics.spectrum import effective_rank, energy, numerical_rank, singular_values


def constructed(s: list[float], n: int = 30, d: int = 12, seed: int = 0) -> np.ndarray:
    """A matrix with these singular values whose columns have mean zero, moved off the origin."""
    rng = np.random.default_rng(seed)
    left = rng.normal(size=(n, len(s)))
    left, _ = np.linalg.qr(left - left.mean(0))
    right, _ = np.linalg.qr(rng.normal(size=(d, len(s))))
    return left * s @ right.T + rng.normal(size=d)


def test_singular_values_are_those_of_the_centred_matrix() -> None:
    """The offset does not count."""
    found = singular_values(constructed([5.0, 2.0, 0.1]))
    assert found[:3] == pytest.approx([5, 2, 0.1])
    assert np.abs(found[3:]).max() < 1e-9


def test_numerical_rank_counts_what_is_above_a_thousandth() -> None:
    """Of 10, 1, 0.02 and 0.009 three are above 0.01."""
    assert numerical_rank(singular_values(constructed([10.0, 1.0, 0.02, 0.009]))) == 3
    assert numerical_rank(np.zeros(4)) == 0


def test_effective_rank_by_hand() -> None:
    """Equal values: their number; one: 1; (3/4, 1/4): exp of the entropy of a biased coin."""
    assert effective_rank(np.ones(7)) == pytest.approx(7)
    assert effective_rank(np.array([4.0, 0.0])) == pytest.approx(1)
    assert effective_rank(np.array([3.0, 1.0])) == pytest.approx(0.75**-0.75 * 0.25**-0.25)
    assert effective_rank(np.zeros(3)) == 0


def test_energy_is_the_share_of_the_variance() -> None:
    """9 and 16 of 25; a curve that ends at 1."""
    assert energy(np.array([4.0, 3.0])).tolist() == pytest.approx([16 / 25, 1])
    assert energy(np.zeros(2)).tolist() == [0, 0]
    features = np.random.default_rng(0).normal(size=(50, 4)) * [4, 3, 2, 1]
    shares = np.sort(np.linalg.eigvalsh(np.cov(features.T)))[::-1]
    assert energy(singular_values(features)) == pytest.approx(np.cumsum(shares) / shares.sum())
