"""Options explain themselves."""

from __future__ import annotations

from robbench.attacks.pgd import PGD
from robbench.catalogue.builtins import ATTACKS, LOSSES
from robbench.core.options import explain_options
from robbench.models.sources.timm import Timm


def test_an_option_explains_itself() -> None:
    """What `robbench explain` shows comes from the dataclass: name, type, default, help."""
    rows = {row.name: row for row in explain_options(PGD)}
    assert list(rows) == ["steps", "rate", "restarts", "init", "objective"]
    assert (rows["steps"].type, rows["steps"].default, rows["steps"].help) == (
        "int",
        "40",
        "moves per restart",
    )
    assert rows["init"].type == "uniform | gaussian | clean"
    assert explain_options(int) == []


def test_lists_are_written_as_in_a_spec_and_what_must_be_given_comes_first() -> None:
    """`timm` has a name, and lists of numbers and of names."""
    rows = explain_options(Timm)
    assert (rows[0].name, rows[0].default) == ("name", "(must be given)")
    types = {row.name: row.type for row in rows}
    assert (types["mean"], types["classes"]) == ("(float,...) | none", "str | (str,...) | none")


def test_every_option_of_the_catalogue_has_a_help_text() -> None:
    """No option of ours is left unexplained."""
    for registry in (ATTACKS, LOSSES):
        for name in registry.entries:
            assert all(row.help for row in explain_options(registry.parse(name)[0])), name
