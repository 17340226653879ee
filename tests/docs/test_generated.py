"""What the manual repeats from the code is what the code says."""

from __future__ import annotations

import pytest

from robbench.guide import FOLDER

from .generated import MAKE, PART, renewed

PAGES = sorted(FOLDER.glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_generated_parts_are_up_to_date(page):
    """`python tests/docs/generated.py` would change nothing, and every column has a meaning."""
    text = page.read_text(encoding="utf-8")
    assert text == renewed(text), "run: python tests/docs/generated.py"
    assert "(write it)" not in text


def test_nothing_is_left_out():
    """Every part that can be made is in exactly one page."""
    made = [part[1] for page in PAGES for part in PART.findall(page.read_text(encoding="utf-8"))]
    assert sorted(made) == sorted(MAKE)
