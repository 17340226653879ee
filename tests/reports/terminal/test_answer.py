"""The first lines of a comparison in the terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console, Group

from robbench.analysis.answer import answers
from robbench.reports.answer import doubt, sentence
from robbench.reports.terminal.answer import answer_lines

from ..conftest import add_run, handmade_rows  # noqa: F401, TID252


@pytest.mark.parametrize("checks", [None, {}])
def test_the_sentence_comes_first_then_its_doubt_and_all_fits(add_run, checks):  # noqa: F811
    """In 40 columns, word for word; no doubt where nobody looked for one."""
    said = answers([add_run("a" * 12)[1]], checks=checks)
    page = io.StringIO()
    Console(file=page, width=40).print(Group(*answer_lines(said)))
    lines = page.getvalue().splitlines()
    assert max(map(len, lines)) <= 40
    wanted = f"{sentence(said[0])} {doubt(said[0])[1]}"
    assert " ".join(" ".join(lines).split()) == wanted.strip()
    assert lines[-1].strip() == ""
