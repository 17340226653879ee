"""The lines of a sweep's forecast."""

from robbench.analysis.forecast import SweepForecast
from robbench.reports.terminal.sweep import forecast_lines

FOUND = SweepForecast(
    n_trainings=4,
    n_attacks=1,
    n_others=0,
    trainings=600.0,
    attacks=None,
    attacks_at_most=120.0,
    queries_at_most=123_456.0,
    kinds=3,
    guessed=0,
    device="cpu",
)


def test_what_is_known_is_said():
    assert forecast_lines(FOUND) == [
        "4 trainings: about 10 min on cpu; validation comes on top",
        "1 attack: at most 2 min, 120,000 queries",
        "one after the other, from 3 measurements on this machine",
    ]


def test_what_is_not_known_is_said_too():
    from dataclasses import replace

    found = replace(
        FOUND, n_trainings=0, n_others=2, attacks=60.0, attacks_at_most=None, queries_at_most=None
    )
    assert forecast_lines(replace(found, guessed=5))[:2] == [
        "1 attack: about 60 s as earlier runs needed, an attack does not say what it costs at most",
        "2 other tasks: no forecast",
    ]
