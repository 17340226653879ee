"""When an epoch's figures mean catastrophic overfitting."""

from __future__ import annotations

import json
import math

import pytest

from robbench.analysis.overfitting import catastrophic_overfitting


def row(trained, robust):
    logs = {} if trained is None else {"adversarial_accuracy": trained}
    return {"epoch": 3, "robust_accuracy": robust, "logs": json.dumps(logs)}


@pytest.mark.parametrize(
    ("trained", "robust", "steps", "said"),
    [
        (0.8, 0.05, 1, True),
        (0.5, 0.2, 1, True),
        (0.8, 0.05, 10, False),  # several steps: another disease
        (0.8, 0.05, 0, False),
        (0.5, 0.3, 1, False),  # less than a half is lost
        (0.25, 0.1, 1, False),  # early, when nothing is learned yet
        (None, 0.05, 1, False),
        (0.8, math.nan, 1, False),  # no validation samples
    ],
)
def test_the_figures_that_mean_it(trained, robust, steps, said):
    found = catastrophic_overfitting(row(trained, robust), steps)
    assert (found is not None) == said
    if found:
        assert f"{trained:.0%}" in found
        assert f"{robust:.0%}" in found
        assert "\n" not in found
