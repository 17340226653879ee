"""What captions claim is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from robbench.catalogue.builtins import ATTACKS
from robbench.reports.html.captions import MISSING, WHAT
from robbench.reports.html.page import Section
from robbench.store.hints import command
from robbench.training.validation import VALIDATION_ATTACK


def test_the_attack_of_validation_is_the_one_that_validates() -> None:
    """The spec in the caption builds it, whatever the inner attack was."""
    (spec,) = re.findall(r"always under (\S+)", WHAT["training"])
    assert ATTACKS.build(spec) == VALIDATION_ATTACK


@pytest.mark.parametrize("section", sorted(MISSING))
def test_commands_that_fill_a_section_name_the_folder(section: str) -> None:
    """Where it is known, each command in the text; on a page none does."""
    one = Section(section, "", [], command=lambda out: command("check", "ab12", out=out))
    folder, page = one.missing(Path("my runs")), one.text
    n = page.count(": robbench ")
    assert folder.count(" --out 'my runs'") == n == (section != "training")
    assert "--out" not in page
