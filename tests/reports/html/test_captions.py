"""What captions claim is so."""

from __future__ import annotations

import re

from robbench.catalogue.builtins import ATTACKS
from robbench.reports.html.captions import WHAT
from robbench.training.validation import VALIDATION_ATTACK


def test_the_attack_of_validation_is_the_one_that_validates() -> None:
    """The spec in the caption builds it, whatever the inner attack was."""
    (spec,) = re.findall(r"always under (\S+)", WHAT["training"])
    assert ATTACKS.build(spec) == VALIDATION_ATTACK
