"""Numbers below 1.2e-38 taken as zero: many processors need a hundred times as long.

The setting belongs to a thread, and a row's answer must not depend on the thread that computes it:
so it is set in all threads of torch's OpenMP pool, and what is in force is measured.
"""

from __future__ import annotations

import contextlib
import ctypes
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

PART = 1 << 16  # elements per thread, of which torch gives every thread some


@contextlib.contextmanager
def flushed() -> Iterator[bool]:
    """Take subnormal numbers as zero in all threads, then restore. Gives whether it worked."""
    before = flushing()
    _everywhere(True)
    if not (done := flushing()):
        _everywhere(before)
    try:
        yield done
    finally:
        if done and not before:
            _everywhere(False)


def flushing() -> bool:
    """Whether all threads take subnormal numbers as zero."""
    tiny = torch.full((PART * torch.get_num_threads(),), 1e-30)
    return not bool((tiny * 1e-10).any())


def _everywhere(on: bool) -> None:
    def switch(_: object = None) -> None:
        torch.set_flush_denormal(on)

    switch()
    if torch.get_num_threads() > 1 and (parallel := _parallel()):
        parallel(ctypes.CFUNCTYPE(None, ctypes.c_void_p)(switch), None, torch.get_num_threads(), 0)


def _parallel() -> Callable[..., None] | None:
    """The function of torch's OpenMP library that calls another in all threads, or None."""
    with contextlib.suppress(OSError):
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
        found = sorted(
            set(re.findall(r"(/\S*lib(?:gomp|iomp5|omp)\S*\.so\S*)$", maps, re.MULTILINE))
        )
        own = [path for path in found if Path(torch.__file__).parent in Path(path).parents] or found
        if len(own) == 1:
            return getattr(ctypes.CDLL(own[0]), "GOMP_parallel", None)
    return None
