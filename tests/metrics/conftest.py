"""Digits to measure on."""

from __future__ import annotations

import pytest

from robbench.data.base import Split
from robbench.data.load import load


@pytest.fixture(autouse=True)
def _on_one_thread(one_thread: None) -> None:
    """Small models only."""


@pytest.fixture(scope="module")
def digits() -> Split:
    """Seventy test digits."""
    return load("digits", "test", limit=70)
