"""Features in [0,1] and back: against scikit-learn's scalers."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from robbench.core.errors import UserError
from robbench.data.feature_box import Box, box_of, given_box, units_of

TRAIN = np.random.default_rng(0).normal(5, [1, 30, 0, 1e-3], (50, 4))
TEST = np.random.default_rng(1).normal(5, [1, 40, 1, 1e-3], (20, 4))


def test_the_range_of_the_training_data() -> None:
    """As MinMaxScaler(clip=True), of a constant feature as well."""
    scaler = MinMaxScaler(clip=True).fit(TRAIN)
    box = box_of(TRAIN)
    for values in (TRAIN, TEST):
        assert np.allclose(box.scaled(values), scaler.transform(values), atol=1e-6)
    assert box.width[2] == 0
    assert not box.outside(TRAIN).any()
    assert np.array_equal(box.outside(TEST), (TRAIN.min(0) > TEST) | (TRAIN.max(0) < TEST))


@pytest.mark.parametrize("kind", ["raw", "standard"])
def test_units_undo_the_scaling(kind: str) -> None:
    """Low + width x is the value of the table, or what StandardScaler makes of it."""
    box = box_of(TRAIN)
    units = units_of(kind, box, TRAIN)  # type: ignore[arg-type]
    assert units is not None
    found = np.array(units.low) + np.array(units.width) * box.scaled(TRAIN).astype(np.float64)
    expected = TRAIN if kind == "raw" else StandardScaler().fit_transform(TRAIN)
    assert np.allclose(found, expected, atol=1e-5)
    assert units_of("unit", box, TRAIN) is None


def test_bounds_can_be_given() -> None:
    """For some of the features."""
    box = Box(np.zeros(2), np.ones(2))
    found = given_box(box, ["a", "b"], {"b": (-1.0, 3.0)}, "box.csv")
    assert (found.low.tolist(), found.high.tolist()) == ([0, -1], [1, 3])
    assert box.low.tolist() == [0, 0]
    for bounds in ({"c": (0.0, 1.0)}, {"a": (1.0, 0.0)}, {"a": (0.0, np.inf)}):
        with pytest.raises(UserError, match=r"box\.csv"):
            given_box(box, ["a", "b"], bounds, "box.csv")
