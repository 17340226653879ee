"""What a renderable looks like on a terminal."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console, RenderableType


@pytest.fixture
def printed() -> Callable[..., list[str]]:
    """The lines of a renderable at a width, without colours."""

    def lines(renderable: RenderableType, width: int = 80) -> list[str]:
        text = io.StringIO()
        Console(file=text, width=width, color_system=None).print(renderable)
        return text.getvalue().splitlines()

    return lines
