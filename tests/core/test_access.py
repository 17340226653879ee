"""What a model shows, and what an attack has to see."""

from __future__ import annotations

from robbench.core.access import access_of, shows


def test_a_model_shows_all_that_is_less_than_what_it_shows() -> None:
    order = ("none", "decision-based", "score-based", "white-box")
    for n, model in enumerate(order):
        assert [shows(model, attack) for attack in order] == [k <= n for k in range(4)]


def test_what_says_nothing_shows_gradients() -> None:
    assert access_of(lambda x: x) == "white-box"
