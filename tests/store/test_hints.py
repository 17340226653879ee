"""Suggested commands name the output folder where they would look into another one."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from robbench.store.address.copies import working_copy
from robbench.store.hints import command


@pytest.mark.parametrize(
    ("out", "usual", "place"),
    [
        (Path("runs"), None, []),
        (Path("elsewhere"), None, ["--out", "elsewhere"]),
        (Path("my runs"), None, ["--out", "my runs"]),
        (Path("runs"), "elsewhere", ["--out", "runs"]),
        (Path("elsewhere"), "elsewhere", []),
        (None, None, []),
    ],
)
def test_a_shell_finds_the_folder(
    out: Path | None, usual: str | None, place: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spaces included; the folder that the environment names needs no option."""
    monkeypatch.delenv("ROBBENCH_OUT", raising=False)
    if usual is not None:
        monkeypatch.setenv("ROBBENCH_OUT", usual)
    assert shlex.split(command("check", "ab12", out=out)) == ["robbench", "check", "ab12", *place]


def test_no_password_is_suggested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not of the output folder, nor of a run; the address of the environment needs no option."""
    address = "memory://me:secret@hints/x"
    monkeypatch.setenv("ROBBENCH_COPIES", str(tmp_path))
    monkeypatch.delenv("ROBBENCH_OUT", raising=False)
    with working_copy(address, print) as out:
        words = shlex.split(command("check", address, out=out))
        shown = "memory://***@hints/x"
        assert words == ["robbench", "check", shown, "--out", shown]
        monkeypatch.setenv("ROBBENCH_OUT", address)
        assert shlex.split(command("check", "ab12", out=out)) == ["robbench", "check", "ab12"]
