"""Checks of the model's outputs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from robbench.checks import (
    outputs,
)
from robbench.checks.broken_defences import DEFENCES, defended


def purified(x: Tensor) -> Tensor:
    return DEFENCES["purified input"][0](x)


BAD = {  # check -> (function, what comes before the classifier, its scale)
    "random": (outputs.random, lambda x: x + 0.05 * torch.randn_like(x), 1),
    "batch-width": (outputs.batch_width, lambda x: x - x.mean(0), 1),
    "dynamic": (outputs.dynamic, purified, 1),
}


@pytest.mark.parametrize("name", BAD)
def test_a_check_tells_a_spoilt_model_from_a_good_one(name: str, told_apart: Callable) -> None:
    """The same samples, labels and threat: only what is looked for differs."""
    good, bad = told_apart(*BAD[name])
    assert len(bad.evidence) > len(good.evidence) or name == "dynamic"


def test_probabilities_are_no_logits(linear: type[nn.Module], evidence: Callable) -> None:
    """Softmax and log-softmax are told from logits, and from each other."""
    good = linear()
    assert outputs.logits(evidence(good)).failed is False
    for name in ("probabilities", "log-probabilities"):
        reading = outputs.logits(evidence(defended(good)[name]))
        assert reading.failed is True
        assert f"are {name}:" in reading.text
