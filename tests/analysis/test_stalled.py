"""When an epoch's figures mean that adversarial training has stalled."""

from __future__ import annotations

import json
import math

import pytest

from robbench.analysis.stalled import stalled


def row(classes, clean, trained):
    logs = {} if trained is None else {"adversarial_accuracy": trained}
    return {
        "epoch": 3,
        "clean_accuracy": clean,
        "predicted_classes": classes,
        "logs": json.dumps(logs),
    }


@pytest.mark.parametrize(
    ("classes", "clean", "trained", "steps", "said"),
    [
        (1, 0.1, 0.1, 100, True),
        (1, 0.1, 0.14, 1000, True),
        (1, 0.5, 0.5, 100, True),  # two classes
        (1, 0.1, 0.1, 99, False),  # early
        (2, 0.1, 0.1, 100, False),
        (1, 0.1, 0.3, 100, False),  # it learns: batch-norm's statistics lag behind
        (1, 0.1, None, 100, False),  # no adversarial training
        (None, 0.1, 0.1, 100, False),  # of an older version
        (None, math.nan, 0.1, 100, False),  # no validation samples
    ],
)
def test_the_figures_that_mean_it(classes, clean, trained, steps, said):
    found = stalled(row(classes, clean, trained), steps, warmup=0.0)
    assert (found is not None) == said
    if found:
        assert f"{trained:.0%}" in found
        assert f"{clean:.0%}" in found
        assert "\n" not in found


def test_what_was_given_is_not_advised():
    """With a warm-up of half the training only a lower rate is left."""
    before = stalled(row(1, 0.1, 0.1), 100, warmup=0.1)
    after = stalled(row(1, 0.1, 0.1), 100, warmup=0.5)
    assert "eps_warmup=0.5" in before
    assert "eps_warmup" not in after
    assert all("lower lr" in text for text in (before, after))
