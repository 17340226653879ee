"""What Python's help() says of the interface of losses; its rules: tests/conformance."""

from __future__ import annotations

import pydoc
import re
from typing import Any

import pytest

from robbench.catalogue.builtins import LOSSES
from robbench.core.errors import UserError
from robbench.losses.base import Loss, Step


@pytest.mark.parametrize("interface", [Step, Loss])
def test_help_describes_every_field(interface: Any) -> None:
    """One line or more for each, as a field has no docstring of its own."""
    text = pydoc.plain(pydoc.render_doc(interface))
    for field in interface.__annotations__:
        assert re.search(rf"^ \|  {field}: \S+ \S+", text, re.MULTILINE), field


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("aalp:guided_dropout=false,rho=0.5", "rho=0.5 needs guided_dropout=true"),
        ("aalp:guided_dropout=false,attack_masked=true", "needs guided_dropout=true"),
        ("aalp:adaptive_weights=false,exponent=3", "exponent=3.0 needs adaptive_weights=true"),
        ("aalp:rate=rank,rho=0.5", "rho=0.5 needs rate=flat"),
        ("aalp:weight=correct,confidence=min", "confidence=min needs weight=probability"),
        ("differential:form=logistic,target=3", "target=3.0 needs form=square or squared-hinge"),
        ("differential:quantile=0.1", "quantile=0.1 needs bias=quantile"),
        ("gairat:weight=discrete,lam=0", "lam=0.0 needs weight=tanh or sigmoid"),
        ("i-sce:scale=3", "scale=3.0 needs space=cosine"),
    ],
)
def test_an_option_that_nothing_would_read_is_refused(spec: str, words: str) -> None:
    """It would name another training for the same one."""
    with pytest.raises(UserError, match=words):
        LOSSES.build(spec)
