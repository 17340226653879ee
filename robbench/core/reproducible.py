"""Settings of the numerical libraries below torch. Needs no torch."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path

CBWR = "MKL_CBWR"  # MKL's conditional numerical reproducibility
_CPUINFO = Path("/proc/cpuinfo")
# glibc's numbers of two parameters, in bytes: a block as large is mapped on its own, and so much
# unused memory at the end of the heap is given back. The first is the most that it allows.
_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = (-3, 32 << 20), (-1, 256 << 20)


def prepare(environ: MutableMapping[str, str] = os.environ) -> None:
    """Set what torch's libraries read, unless torch is loaded. A user's own settings stay."""
    if "torch" in sys.modules:
        return  # too late: they would not hear of it, but the record of the run would name it
    # Torch's threads spin while they wait, which on a busy machine makes small models ten times
    # slower.
    environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if (wanted := strict_branch()) is not None:
        environ.setdefault(CBWR, wanted)
    keep_freed_memory(environ)


def keep_freed_memory(environ: Mapping[str, str]) -> None:
    """Let glibc's heap keep what tensors free for the next ones, unless the user has set it.

    By default it gives large blocks back to the kernel at once and gets them again page by page,
    which costs far more than the arithmetic on a batch of small images. Does nothing elsewhere.
    """
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in environ):
        return
    if sys.platform == "linux" and (tune := getattr(ctypes.CDLL(None), "mallopt", None)):
        for parameter, size in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
            tune(parameter, size)


def strict_branch(cpuinfo: str | None = None) -> str | None:
    """The MKL_CBWR with which a row's product does not depend on the number of rows, or None.

    MKL knows these branches on Intel processors only. On others it takes AUTO instead, which makes
    nothing equal. cpuinfo: the text of Linux's /proc/cpuinfo, read if not given.
    """
    if cpuinfo is None:
        cpuinfo = _CPUINFO.read_text(errors="replace") if _CPUINFO.exists() else ""
    facts = {
        name.strip(): value.split()
        for name, _, value in (line.partition(":") for line in cpuinfo.splitlines())
    }
    if facts.get("vendor_id") != ["GenuineIntel"]:
        return None
    flags = facts.get("flags", [])
    # What MKL's AVX-512 branch is made of; Xeon Phi has the first alone.
    if {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= {*flags}:
        return "AVX512,STRICT"
    return "AVX2,STRICT" if "avx2" in flags else None
