"""A function on many things, in a few threads, its results in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")

THREADS = min(8, os.cpu_count() or 1)
_AHEAD = 4 * THREADS  # results that may wait for the reader


def in_threads(function: Callable[[S], T], sources: Iterable[S]) -> Iterator[T]:
    """`map(function, sources)`, where a few are under way at once; bounded memory.

    Sources are drawn in this thread. What a call raises is raised where its result is due. The
    threads end with the iterator, whoever ends it.
    """
    remaining = iter(sources)
    first = list(islice(remaining, 2))
    if THREADS == 1 or len(first) < 2:
        yield from map(function, first)
        yield from map(function, remaining)
        return
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="decode")
    try:
        waiting: deque[Future[T]] = deque(pool.submit(function, source) for source in first)
        for source in remaining:
            waiting.append(pool.submit(function, source))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
