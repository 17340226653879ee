"""Runs are owned in one order, and given back however the work ends."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from robbench.store.locks import locked_runs


def test_each_subject_has_a_file_while_it_is_owned(tmp_path: Path) -> None:
    """Named twice, it is owned once; afterwards nothing is left."""
    with locked_runs(tmp_path, ["b", "a", "b"], say=pytest.fail):
        names = sorted(path.name for path in (tmp_path / "locks").iterdir())
        assert [name[:7] for name in names] == ["a.lock.", "b.lock."]
    assert not list((tmp_path / "locks").iterdir())


def test_an_error_gives_them_back(tmp_path: Path) -> None:
    """So that the next one need not wait."""
    with pytest.raises(ZeroDivisionError), locked_runs(tmp_path, ["a"], say=pytest.fail):
        _ = 1 / 0
    with locked_runs(tmp_path, ["a"], say=pytest.fail):
        pass


def test_parts_share_a_run(tmp_path: Path) -> None:
    """Two are inside at once."""
    with (
        locked_runs(tmp_path, ["a"], say=pytest.fail, shared=True),
        locked_runs(tmp_path, ["a"], say=pytest.fail, shared=True),
    ):
        assert len(list((tmp_path / "locks").iterdir())) == 2


def test_all_are_owned_in_one_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the order they are named in, so that no two processes wait for each other."""
    order: list[str] = []

    def owned(path: Path, *_: object, **__: object) -> contextlib.AbstractContextManager[None]:
        order.append(path.stem)
        return contextlib.nullcontext()

    monkeypatch.setattr("robbench.store.locks.locked", owned)
    for names in (["c", "a", "b"], ["b", "c", "a"]):
        with locked_runs(tmp_path, names, say=pytest.fail):
            assert order == ["a", "b", "c"]
        order.clear()
