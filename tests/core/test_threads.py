"""A function in threads is the same as `map`, but for when its calls are made."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from robbench.core import threads
from robbench.core.threads import in_threads


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("n", [0, 1, 2, 50])
def test_results_come_in_order(n: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the first call takes longest."""
    monkeypatch.setattr(threads, "THREADS", count)

    def slow(i: int) -> int:
        time.sleep(0.02 if i == 0 else 0)
        return i * i

    assert list(in_threads(slow, range(n))) == [i * i for i in range(n)]


def test_a_slow_reader_is_not_run_away_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few sources are drawn before their results are wanted; the threads end with the iterator."""
    monkeypatch.setattr(threads, "THREADS", 2)
    monkeypatch.setattr(threads, "_AHEAD", 5)
    drawn = []

    def sources() -> Iterator[int]:
        for i in range(1000):
            drawn.append(i)
            yield i

    results = in_threads(str, sources())
    assert [next(results), next(results)] == ["0", "1"]
    assert len(drawn) < 10
    results.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("decode")]


def test_an_error_comes_where_its_result_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results before it are there."""
    monkeypatch.setattr(threads, "THREADS", 2)
    results = in_threads(lambda i: 1 // (3 - i), range(10))
    assert [next(results) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
