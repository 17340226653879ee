"""What Python's help() says of the interface of losses; its rules: tests/conformance."""

from __future__ import annotations

import pydoc
import re
from typing import Any

import pytest

from robbench.losses.base import Loss, Step


@pytest.mark.parametrize("interface", [Step, Loss])
def test_help_describes_every_field(interface: Any) -> None:
    """One line or more for each, as a field has no docstring of its own."""
    text = pydoc.plain(pydoc.render_doc(interface))
    for field in interface.__annotations__:
        assert re.search(rf"^ \|  {field}: \S+ \S+", text, re.MULTILINE), field
