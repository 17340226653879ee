"""Objects and classes of a user have the spec that gives them again, or are refused."""

from __future__ import annotations

import dataclasses
import sys
from types import ModuleType

import pytest

from robbench.attacks.eot import EOT
from robbench.attacks.pgd import PGD
from robbench.catalogue.builtins import ATTACKS, LOSSES
from robbench.core.errors import UserError
from robbench.core.objects import require_file, spec_of
from robbench.losses.base import Loss
from robbench.losses.trades import TRADES


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scaled(Loss):
    """A loss with an option that must be given."""

    factor: float

    def __call__(self, step):
        return step.y * self.factor


class Lazy(Scaled):
    """One whose options are not its own."""

    def __eq__(self, other):
        return self is other

    __hash__ = None


@pytest.mark.parametrize(
    "text", ["pgd", "pgd:steps=7", "eot:attack=(pgd:steps=3,restarts=2)", "apgd:objective=dlr"]
)
def test_an_object_has_the_spec_that_makes_it(text: str) -> None:
    """The shortest one; `spec_of` undoes `build`, and leaves texts alone."""
    assert spec_of(ATTACKS, ATTACKS.build(text)) == ATTACKS.canonical(text)
    assert spec_of(ATTACKS, text) == text


def test_a_class_is_itself_with_its_defaults() -> None:
    """Registered ones by their name, one of one's own by its module."""
    assert spec_of(ATTACKS, PGD) == "pgd"
    assert spec_of(LOSSES, TRADES) == "trades"
    assert spec_of(LOSSES, Scaled(factor=2.5)) == f"{__name__}:Scaled:factor=2.5"
    assert LOSSES.build(spec_of(LOSSES, Scaled(factor=2.5))) == Scaled(factor=2.5)


class Plain(Loss):
    """Not a dataclass."""

    def __call__(self, step):
        return step.y


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (Scaled, "Scaled: give an object of it"),
        (Loss, "Loss: give an object of it"),
        (Plain, "is no dataclass: write @dataclasses.dataclass"),
        (Lazy(factor=1.0), "is not what its options"),
        (PGD(), "is no loss: give a spec, or an object or class derived from robbench.losses.base"),
        (int, "<class 'int'> is no loss: give a spec"),
        (3, "3 is no loss: give a spec"),
    ],
)
def test_what_has_no_spec(given: object, words: str) -> None:
    """Says what to give instead."""
    with pytest.raises(UserError) as caught:
        spec_of(LOSSES, given)
    assert words in str(caught.value)


def test_a_class_inside_a_function_has_none() -> None:
    """No text leads to it."""

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Local(PGD):
        pass

    with pytest.raises(UserError, match="move it to the top of a module"):
        spec_of(ATTACKS, Local)


def test_code_without_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A class of a notebook has no version; one of a module has."""
    notebook = ModuleType("notebook_of_mine")
    exec("class Mine: pass\ndef make(): pass", vars(notebook))
    monkeypatch.setitem(sys.modules, "notebook_of_mine", notebook)
    for named in (notebook.Mine, notebook.make):
        with pytest.raises(UserError, match=r"has no file.*a \.py file"):
            require_file(named, "loss")
    for named in (EOT, spec_of):
        require_file(named, "attack")
