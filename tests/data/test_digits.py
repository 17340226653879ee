"""The embedded digits."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits

from robbench.data.load import load


def test_digits_are_scikit_learns() -> None:
    """The embedded digits equal sklearn.datasets.load_digits, split after row 1,200."""
    reference = load_digits()
    train, test = load("digits", "train"), load("digits", "test")
    assert (len(train), len(test), train.scale) == (1200, 597, 16)
    images = torch.cat([train.images, test.images])[:, 0]
    assert np.array_equal(images.numpy(), reference.images)
    assert np.array_equal(torch.cat([train.labels, test.labels]), reference.target)
    assert train.pixels(slice(None)).max() == 1
