"""Layout and scale of arrays: concluded only where nothing else is possible."""

from __future__ import annotations

import numpy as np
import pytest

from robbench.data.arrays import channels_last, pixels_of, white_of


@pytest.mark.parametrize(
    ("shape", "last"),
    [
        ((9, 3, 32, 32), False),
        ((9, 1, 28, 28), False),
        ((9, 32, 32, 3), True),
        ((9, 28, 28, 1), True),
        ((9, 3, 32, 3), None),
        ((9, 2, 2, 2), None),
        ((9, 13, 64, 64), None),
    ],
)
def test_where_the_channels_are(shape: tuple[int, ...], last: bool | None) -> None:
    """At most four entries, and only on one of the two sides."""
    assert channels_last(shape) is last


@pytest.mark.parametrize(
    ("values", "dtype", "white"),
    [
        ([0, 255], np.uint8, 255),
        ([0, 16], np.uint8, 255),
        ([0, 1], np.uint8, None),
        ([0, 1], np.bool_, 1),
        ([0, 0.5], np.float32, 1),
        ([-2, 0.5], np.float32, 1),
        ([0, 255], np.int64, 255),
        ([0, 200], np.float64, 255),
        ([0, 199.5], np.float64, None),
        ([-1, 200], np.float64, None),
        ([0, 16], np.float64, None),
        ([0, 256], np.int32, None),
        ([0, 65535], np.uint16, None),
    ],
)
def test_what_white_is(values: list[float], dtype: type, white: int | None) -> None:
    """255 of bytes and of whole numbers that reach beyond 127, 1 of what does not exceed it."""
    images = np.array([[[values]]], dtype)
    assert white_of(images) == white


def test_a_table_of_whole_numbers_is_no_image() -> None:
    """Features up to 200 may have any range."""
    assert white_of(np.array([[0.0, 200.0]])) is None


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64, np.float32, np.float64])
def test_the_same_pixels_are_the_same_bytes(dtype: type) -> None:
    """Whole numbers up to white stay bytes, whatever holds them; other scales become floats."""
    plain = np.arange(12).reshape(3, 1, 2, 2)
    found = pixels_of(plain.astype(dtype), 16.0)
    assert found.scale == 16
    assert found.rows(np.array([2])).dtype == np.uint8
    assert np.array_equal(found.rows(slice(None)), plain)
    wide = pixels_of(plain.astype(np.float64) * 100, 1600.0)
    assert wide.rows(slice(None)).dtype == np.float32
    assert np.array_equal(wide.rows(slice(None)), (plain / 16).astype(np.float32))


def test_black_and_white_floats_stay_floats() -> None:
    """A subset of floats is read as all of them are."""
    found = pixels_of(np.zeros((2, 3), np.float32), 1.0)
    assert found.rows(slice(None)).dtype == np.float32
