"""Made-up numbers of each kind of figure."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from robbench.analysis.plots.lines import Line, Plotted


@pytest.fixture
def numbers() -> Callable[..., Plotted]:
    """A figure's numbers by (kind, x, y, panels): one line with these in each panel."""

    def make(kind: str, x: list[float], y: list[float], panels: tuple[str, ...] = ("",)) -> Plotted:
        nothing = np.full(len(x), math.nan)
        lines = [
            Line("ce", np.array(x, float), np.array(y, float), nothing, nothing, 9, panel)
            for panel in panels
        ]
        return Plotted(kind, lines, "x", "y", "About")

    return make
