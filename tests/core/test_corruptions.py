"""Which corruptions a text means."""

from __future__ import annotations

import pytest

from robbench.core.corruptions import CORRUPTIONS, expand, norms_of_corruptions, size_norm
from robbench.core.errors import UserError


def test_names_and_severities_are_multiplied_out():
    """In the order written; without a severity all five."""
    assert expand("fog@3") == [("fog", 3)]
    assert expand(" Gaussian-Noise@2 , snow@4-5") == [
        ("gaussian_noise", 2),
        ("snow", 4),
        ("snow", 5),
    ]
    assert expand("fog") == [("fog", n) for n in (1, 2, 3, 4, 5)]
    assert len(expand("all")) == 75
    assert expand("all@5") == [(name, 5) for name in CORRUPTIONS]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fogg", "unknown corruption 'fogg'; did you mean fog?"),
        ("fog:3", "malformed threat 'corruption:fog:3': a severity follows an @"),
        ("fog,linf:8/255", "give each other threat model a --threat of its own"),
        ("fog@6", "severities from 1 to 5"),
        ("fog@0", "severities from 1 to 5"),
        ("fog@", "malformed threat 'corruption:fog@'"),
        ("", "malformed threat"),
        ("fog,", "malformed threat"),
        ("fog@3-2", "3 is larger than 2"),
        ("fog@3,all@3", "corruption:fog@3 is given twice"),
    ],
)
def test_what_is_none_is_refused(text: str, words: str):
    with pytest.raises(UserError) as error:
        expand(text)
    assert words in str(error.value)


def test_runs_hold_the_corruption_in_place_of_a_norm():
    """The size of what it changes is given in a norm all the same."""
    assert norms_of_corruptions()[-1] == "corruption:jpeg_compression"
    assert [size_norm(norm) for norm in ("l2", "corruption:fog")] == ["l2", "linf"]
