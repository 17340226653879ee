"""What a user's code sees of the process while it is imported or called."""

from __future__ import annotations

import argparse
import sys

import pytest

from robbench.core.errors import UserError
from robbench.core.guest import guest_code


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
