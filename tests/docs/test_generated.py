"""What the manual repeats from the code is what the code says."""

from __future__ import annotations

import re
import typing

import pytest

from robbench.analysis.summary import CI_METHOD
from robbench.checks import base
from robbench.execution.task import Status
from robbench.guide import FOLDER
from robbench.store.find import STOPPED_EARLY
from robbench.tasks.attack.config import AttackConfig
from robbench.tasks.attack.points import DTYPES
from robbench.tasks.sweep.plan import Kind
from robbench.tasks.sweep.rows import WAITING

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


@pytest.mark.parametrize(
    ("table", "column", "written"),
    [
        ("runs", "status", ["done", STOPPED_EARLY]),
        ("runs", "ci_method", [CI_METHOD]),
        ("runs", "precision", typing.get_type_hints(AttackConfig)["precision"]),
        ("points", "encoding", list(DTYPES)),
        ("checks", "severity", base.Severity),
        ("checks", "verdict", base.Verdict),
        ("tasks", "kind", Kind),
        ("tasks", "status", [*typing.get_args(Status), WAITING["status"]]),
    ],
)
def test_values_that_are_written_are_those_of_the_page(table, column, written):
    """Columns that hold one of a few words."""
    page = (FOLDER / "results.md").read_text(encoding="utf-8")
    (part,) = (body for _, name, body, _ in PART.findall(page) if name == f"schema-{table}")
    (row,) = (line for line in part.splitlines() if line.startswith(f"| `{column}` |"))
    said = set(re.findall(r"`([^`]+)`", row.split("|")[3]))
    assert set(_words(written)) <= said


def _words(written):
    return written if isinstance(written, list) else typing.get_args(written)
