"""MKL's strict reproducibility is set before torch loads, and never over the user."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from robbench.core import reproducible

FLAGS512 = "fpu sse2 avx avx2 fma avx512f avx512dq avx512bw avx512vl amx_tile"


def _cpu(vendor: str, flags: str) -> str:
    one = f"processor\t: 0\nvendor_id\t: {vendor}\nmodel name\t: A: B\nflags\t\t: {flags}\n\n"
    return one + one.replace(": 0", ": 1")


@pytest.mark.parametrize(
    ("cpuinfo", "branch"),
    [
        (_cpu("GenuineIntel", FLAGS512), "AVX512,STRICT"),
        (_cpu("GenuineIntel", "fpu avx avx2 fma"), "AVX2,STRICT"),
        (
            _cpu("GenuineIntel", "fpu avx2 avx512f avx512cd avx512er avx512pf"),
            "AVX2,STRICT",
        ),  # Xeon Phi
        (_cpu("GenuineIntel", "fpu sse2 avx"), None),
        (_cpu("AuthenticAMD", FLAGS512), None),
        ("processor\t: 0\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\n", None),
        ("", None),
    ],
)
def test_the_branch_of_a_processor(cpuinfo: str, branch: str | None) -> None:
    """The widest vectors that MKL has a strict branch for, on Intel processors only."""
    assert reproducible.strict_branch(cpuinfo) == branch


def test_what_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both settings if unset; the user's own stay; none after torch, or where MKL has no branch."""
    monkeypatch.setattr(reproducible, "strict_branch", lambda: "AVX2,STRICT")
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    environ: dict[str, str] = {}
    reproducible.prepare(environ)
    assert environ == {"OMP_WAIT_POLICY": "PASSIVE", "MKL_CBWR": "AVX2,STRICT"}
    theirs = {"OMP_WAIT_POLICY": "ACTIVE", "MKL_CBWR": "COMPATIBLE"}
    reproducible.prepare(theirs)
    assert theirs == {"OMP_WAIT_POLICY": "ACTIVE", "MKL_CBWR": "COMPATIBLE"}
    monkeypatch.setitem(sys.modules, "torch", object())
    late: dict[str, str] = {}
    reproducible.prepare(late)
    assert late == {}
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(reproducible, "strict_branch", lambda: None)
    reproducible.prepare(late)
    assert late == {"OMP_WAIT_POLICY": "PASSIVE"}


def test_the_command_sets_it_before_torch() -> None:
    """The entry point has set it by the time torch may load, in a process of its own."""
    code = (
        "import os, sys\n"
        "from robbench.core import reproducible\n"
        "reproducible.strict_branch = lambda: 'AVX2,STRICT'\n"
        "from robbench.cli.app import main\n"
        "sys.argv = ['robbench', '--version']\n"
        "try:\n"
        "    main()\n"
        "except SystemExit:\n"
        "    pass\n"
        "print(os.environ['MKL_CBWR'], 'torch' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PATH": ""}
    )
    assert done.stdout.splitlines()[-1] == "AVX2,STRICT False"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_freed_memory_is_used_again() -> None:
    """Eight blocks of 4 MB that come and go together cost next to no page faults after the first.

    With the system's own settings they cost thousands each time, as the settings of a user do who
    has some.
    """
    program = (
        "import resource, sys\n"
        "import numpy as np\n"
        "from robbench.core.reproducible import keep_freed_memory\n"
        "keep_freed_memory({'MALLOC_ARENA_MAX': '1'} if sys.argv[1] == 'theirs' else {})\n"
        "for n in range(20):\n"
        "    if n == 2: before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    blocks = [np.full(1 << 19, 1.0) for _ in range(8)]\n"
        "    del blocks\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)\n"
    )
    environ = {"PATH": "", "NUMPY_MADVISE_HUGEPAGE": "0"}
    ours, theirs = (
        int(
            subprocess.run(
                [sys.executable, "-c", program, who],
                capture_output=True,
                text=True,
                check=True,
                env=environ,
            ).stdout
        )
        for who in ("ours", "theirs")
    )
    assert ours < theirs / 10
