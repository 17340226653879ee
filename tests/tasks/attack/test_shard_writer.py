"""Finished samples on their way to disk: points before rows, each once, in their order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robbench.core.errors import Stopped
from robbench.tasks.attack import shard_writer
from robbench.tasks.attack.shard_writer import ShardWriter
from robbench.tasks.signals import StopFlag


class Shards:
    """What is written, in order, to one run's folder."""

    def __init__(self, log: list[tuple[int, str, list[Any]]], level: int) -> None:
        self.log, self.level = log, level

    def append(self, rows: list[dict[str, Any]]) -> None:
        self.log.append((self.level, "rows", [row["n"] for row in rows]))

    def append_points(self, points: list[dict[str, Any]]) -> None:
        self.log.append((self.level, "points", [point["n"] for point in points]))


def _writer(levels: int = 2) -> tuple[ShardWriter, list[tuple[int, str, list[Any]]]]:
    log: list[tuple[int, str, list[Any]]] = []
    shards: Any = [Shards(log, level) for level in range(levels)]
    return ShardWriter(shards), log


STEPS = st.lists(
    st.tuples(st.lists(st.tuples(st.integers(0, 1), st.booleans()), max_size=4), st.booleans()),
    max_size=8,
)


@given(STEPS)
def test_everything_is_written_once_and_points_before_their_rows(
    steps: list[tuple[list[tuple[int, bool]], bool]],
) -> None:
    """Whenever it is flushed: a row on disk has its point."""
    writer, log = _writer()
    n, added = 0, ([], [])
    for samples, now in steps:
        rows, points = [], []
        for level, moved in samples:
            rows.append((level, {"n": n}))
            added[level].append(n)
            if moved:
                points.append((level, {"n": n, "delta": b"xy"}))
            n += 1
        writer.add(rows, points, now)
        if now and any(writer.rows):
            pytest.fail("held though it was to be written")
    writer.flush()
    for level in (0, 1):
        mine = [(kind, ns) for at, kind, ns in log if at == level]
        assert [n for kind, ns in mine if kind == "rows" for n in ns] == added[level]
        points_there: set[int] = set()
        for kind, ns in mine:
            points_there |= set(ns) if kind == "points" else set()
        assert points_there <= set(added[level])
        assert [kind for kind, _ in mine] == ["points", "rows"] * (len(mine) // 2)


def test_many_bytes_of_points_are_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory does not grow with a run."""
    monkeypatch.setattr(shard_writer, "FLUSH_SECONDS", 1e9)
    monkeypatch.setattr(shard_writer, "FLUSH_BYTES", 10)
    writer, log = _writer(1)
    writer.add([(0, {"n": 0})], [(0, {"n": 0, "delta": b"x" * 10})], False)
    assert log == []
    writer.add([(0, {"n": 1})], [(0, {"n": 1, "delta": b"x"})], False)
    assert log == [(0, "points", [0, 1]), (0, "rows", [0, 1])]
    assert writer.held == 0


def test_a_stop_within_a_step_writes_what_was_finished() -> None:
    """And goes on to the caller; another error writes nothing."""
    writer, log = _writer(1)
    writer.add([(0, {"n": 0})], [], False)
    with pytest.raises(ValueError, match="x"), writer.flushing_on_stop(StopFlag()):
        raise ValueError("x")
    assert log == []
    with pytest.raises(Stopped), writer.flushing_on_stop(StopFlag()):
        raise Stopped(130)
    assert log == [(0, "points", []), (0, "rows", [0])]
