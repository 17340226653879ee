"""Names and conditions select runs by their rows; the samples of the others are not read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from robbench.analysis.choose import choose
from robbench.analysis.comparison import compare_runs
from robbench.core.errors import UserError
from robbench.store.store import Store

Stored = Callable[..., Any]


def ids(out: Path, *names: str, where: tuple[str, ...] = ()) -> list[str]:
    """The chosen runs."""
    return [path.stem for path in choose(Store(out), names, where)]


def test_all_conditions_hold(tmp_path: Path, stored: Stored) -> None:
    """In the order of the names; a tag is one of several."""
    stored("aaaa11111111", model="a", tags='["x", "y"]', age=2)
    stored("bbbb11111111", model="b", tags='["y"]', age=1)
    stored("cccc11111111", model="b", loss=None)
    assert ids(tmp_path) == ["cccc11111111", "bbbb11111111", "aaaa11111111"]
    assert ids(tmp_path, "a", "b", where=("tag=y",)) == ["aaaa11111111", "bbbb11111111"]
    assert ids(tmp_path, where=("tag=y", "model=b")) == ["bbbb11111111"]
    assert ids(tmp_path, where=("tag=none",)) == ids(tmp_path, where=("loss=none",))
    with pytest.raises(UserError, match="no run of 'a' has model=b;"):
        choose(Store(tmp_path), ["a", "b"], ["model=b"])


def test_samples_of_runs_that_are_left_out_may_be_damaged(tmp_path: Path, stored: Stored) -> None:
    """A comparison of the others does not need them."""
    for run_id, model in (("aaaa11111111", "a"), ("bbbb11111111", "b")):
        stored(run_id, model=model)
    (tmp_path / "results" / "samples" / "aaaa11111111.parquet").write_bytes(b"")
    assert len(compare_runs([], tmp_path, where=["model=b"]).rows) == 1
    with pytest.raises(UserError, match=r"aaaa11111111.parquet is damaged"):
        compare_runs([], tmp_path)


def test_a_message_lists_some_values(tmp_path: Path, stored: Stored) -> None:
    """Not those of ten thousand runs."""
    for i in range(25):
        stored(f"aaaa1111{i:04}")
    with pytest.raises(UserError, match=r"run_id=aaaa11110000, .*, aaaa11110019 and 5 more$"):
        choose(Store(tmp_path), [], ["run_id=none"])
