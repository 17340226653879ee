"""What a user's code sees of the process while it is imported or called."""

from __future__ import annotations

import argparse
import json
import sys
from types import ModuleType

import pytest

from robbench.core import guest
from robbench.core.errors import UserError
from robbench.core.guest import Culprit, culprit, guest_code


def test_guests_see_no_command_line_and_print_to_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """A parser of their own finds no arguments; afterwards everything is as before."""
    monkeypatch.setattr(sys, "argv", ["robbench", "attack", "--epsilon", "no number"])
    parser = argparse.ArgumentParser()
    parser.add_argument("--epsilon", type=float, default=8)
    with guest_code("importing research", "research"):
        assert sys.argv == ["research"]
        assert parser.parse_args().epsilon == 8
        print("loading weights")
    print("result")
    assert sys.argv == ["robbench", "attack", "--epsilon", "no number"]
    assert capsys.readouterr() == ("result\n", "loading weights\n")


@pytest.mark.parametrize("code", [0, 2, "bye"])
def test_guests_do_not_end_the_program(code: object) -> None:
    """sys.exit is an error that says so, whatever its code; other exceptions pass."""
    before = sys.argv
    told = f"importing research ended the program .SystemExit {code}"
    with pytest.raises(UserError, match=told), guest_code("importing research", "research"):
        sys.exit(code)
    with pytest.raises(KeyError), guest_code("importing research", "research"):
        raise KeyError
    assert sys.argv is before


def module_of(name: str, source: str, file: str) -> ModuleType:
    """A module of this source that says it lies in a file."""
    module = ModuleType(name)
    module.__file__ = file
    exec(compile(source, file, "exec"), vars(module))
    return module


OUTER = """
class Base:
    def call(self, helper):
        return helper()

class Derived(Base):
    pass
"""
HELPER = """
import json
def fails():
    return json.loads("{")
"""


def test_whose_code_raised(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of the callee, also of a derived class; the innermost line outside libraries."""
    modules = {}
    for name, source in (("outer", OUTER), ("helper", HELPER), ("robbench.fake", HELPER)):
        file = tmp_path / f"{name}.py"
        file.write_text(source)
        modules[name] = module_of(name, source, str(file))
        monkeypatch.setitem(sys.modules, name, modules[name])

    def raised(call) -> json.JSONDecodeError:
        try:
            call()
        except json.JSONDecodeError as error:
            error.__traceback__ = error.__traceback__.tb_next.tb_next  # without those of this test
            return error
        raise AssertionError

    own = modules["outer"].Derived()
    found = culprit(raised(lambda: own.call(modules["helper"].fails)))
    assert found == Culprit("outer:Derived", "helper.py, line 4")
    assert culprit(raised(modules["robbench.fake"].fails)) is None
    within = culprit(raised(lambda: own.call(modules["robbench.fake"].fails)))
    assert within == Culprit("outer:Derived", "outer.py, line 4")


def test_a_plug_in_that_is_installed_answers_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though it lies where libraries do."""
    monkeypatch.setattr(guest, "is_private", lambda module: False)
    with pytest.raises(ValueError, match="Expecting") as raised:
        module_of("plugged.losses", HELPER, "/usr/lib/plugged/losses.py").fails()
    monkeypatch.setattr(guest, "_plugin_packages", lambda: frozenset({"other"}))
    assert culprit(raised.value) is None
    monkeypatch.setattr(guest, "_plugin_packages", lambda: frozenset({"plugged"}))
    assert culprit(raised.value) == Culprit("plugged.losses:fails", "losses.py, line 4")


def test_the_cause_of_an_exception_tells_whose_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python makes another error of a StopIteration inside a generator; a circle of causes ends."""
    monkeypatch.setattr(guest, "is_private", lambda module: module == "mine")
    error = RuntimeError("generator raised StopIteration")
    error.__cause__ = error
    assert culprit(error) is None
    with pytest.raises(ValueError, match="Expecting") as raised:
        module_of("mine", HELPER, "mine.py").fails()
    error.__cause__ = raised.value
    assert culprit(error) == Culprit("mine:fails", "mine.py, line 4")
