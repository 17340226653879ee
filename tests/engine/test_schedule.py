"""The order of a sample's trials."""

from __future__ import annotations

from robbench.engine.schedule import Schedule, Trial


def test_trials_go_budget_by_budget_and_variant_by_variant() -> None:
    """All variants of an attack, then the next attack; all attacks, then the next budget."""
    schedule = Schedule(2, [2, 1], [False, False])
    assert schedule.trials == [
        Trial(0, 0, 0),
        Trial(0, 0, 1),
        Trial(0, 1, 0),
        Trial(1, 0, 0),
        Trial(1, 0, 1),
        Trial(1, 1, 0),
    ]
    assert [schedule.ends_entry(n) for n in range(6)] == [False, True, True, False, True, True]


def test_a_backend_is_a_stage_of_its_own() -> None:
    """What lies between two backends is one stage, over the border of a budget too."""
    schedule = Schedule(2, [1, 1, 2], [False, True, False])
    stages = [(list(stage.positions), stage.backend) for stage in schedule.stages()]
    assert stages == [([0], False), ([1], True), ([2, 3, 4], False), ([5], True), ([6, 7], False)]
    assert not list(Schedule(3, [], []).stages())
