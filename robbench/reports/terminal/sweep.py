"""What a sweep will cost, in words."""

from __future__ import annotations

from robbench.analysis.forecast import SweepForecast
from robbench.reports.terminal.forecast import duration, rounded


def forecast_lines(found: SweepForecast) -> list[str]:
    """A line for the trainings, one for the attacks, and one for what is not in them."""
    lines = []
    if found.n_trainings:
        lines.append(
            f"{_count(found.n_trainings, 'training')}: about {duration(found.trainings)} on "
            f"{found.device}; validation comes on top"
        )
    if found.n_attacks:
        lines.append(f"{_count(found.n_attacks, 'attack')}: {_attacks(found)}")
    if found.n_others:
        lines.append(f"{_count(found.n_others, 'other task')}: no forecast")
    guessed = (
        f", {found.guessed:,} tasks of other kinds taken as their mean" if found.guessed else ""
    )
    lines.append(
        f"one after the other, from {_count(found.kinds, 'measurement')} on this machine{guessed}"
    )
    return lines


def _attacks(found: SweepForecast) -> str:
    if found.attacks_at_most is None:
        most = "an attack does not say what it costs at most"
    else:
        most = f"at most {duration(found.attacks_at_most)}"
    if found.queries_at_most is not None:
        most += f", {rounded(found.queries_at_most)} queries"
    if found.attacks is None:
        return most
    return f"about {duration(found.attacks)} as earlier runs needed, {most}"


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"
