"""The parts of a threat model's text."""

from __future__ import annotations

import pytest

from robbench.core.threat_text import ThreatText, split_threat


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("linf:8/255", ("linf", "8/255", None)),
        ("l2:inf", ("l2", "inf", None)),
        ("linf:2/255,8/255 -> cat", ("linf", "2/255,8/255", "cat")),
        ("l1:12 -> column:other", ("l1", "12", "column:other")),
        ("corruption:fog@3", ("corruption:fog", "3", None)),
    ],
)
def test_a_canonical_text_is_its_parts_and_the_parts_are_the_text(text, parts):
    """Both ways; a colon in the target is no budget's."""
    assert split_threat(text) == ThreatText(*parts)
    assert str(ThreatText(*parts)) == text


def test_a_text_as_it_is_typed_may_lack_blanks_and_parts():
    """Nothing is checked here: that is for `parse_threat`."""
    assert split_threat(" linf:0.1->3") == ("linf", "0.1", "3")
    assert split_threat("linf") == ("linf", "", None)
    assert split_threat("linf:0.1 ->") == ("linf", "0.1", "")
