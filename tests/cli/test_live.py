"""What a live display shows in the width there is."""

from __future__ import annotations

import io

import pytest
from rich.console import Console, Group

from robbench.cli.live import LiveDisplay

NOTE = "14/60 decided, robust accuracy at most 76.7% (95 %: to 85.6%), 1,200 queries/s"
LEFT = "about 40 s left, at most 3 min"


def shown(width: int, *parts: str) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    live = LiveDisplay(console)
    name = "a-model-of-a-sweep-with-a-long-name-e0.1-seed0 linf:0.1"
    live.add_task(live.title(name), total=1.0, completed=0.12, note=NOTE, left=LEFT)
    for part in parts:
        live.add_task(part, total=60, completed=14, note="14/60, 3 found, 7.0/s", left="")
    with console.capture() as text:
        console.print(Group(*live.get_renderables()))
    return text.get().splitlines()


@pytest.mark.parametrize("width", [80, 100, 200])
def test_share_and_time_left_are_seen_in_full(width: int) -> None:
    """Whatever the model is called; robust accuracy so far is on the next line."""
    first, second = shown(width)
    assert " 12% " in first
    assert LEFT in first
    assert first.startswith("a-mode")
    assert max(map(len, (first, second))) <= width
    assert second.strip().startswith(NOTE[:70])


def test_parts_have_their_own_bars_and_notes() -> None:
    lines = shown(80, "  pgd:steps=10", "  square")
    assert len(lines) == 4
    assert "14/60, 3 found, 7.0/s" in lines[2]
    assert "square" in lines[3]


def test_names_of_others_cannot_write_on_the_terminal() -> None:
    console = Console(file=io.StringIO(), width=80)
    assert LiveDisplay(console).title("m\x1b[2J") == "m?[2J"
