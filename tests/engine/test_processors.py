"""What is promised of widths, orders and stand-ins holds with the kernels of other processors too.

Each environment is a process of its own: libraries choose their kernels once. There the tests
measure which numbers of rows agree, as runs do, and assert equality where any do.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KERNELS = {
    "mkl-avx2": {"MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "mkl-sse4": {"MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
    "onednn-avx2": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    "aten-avx2": {"ATEN_CPU_CAPABILITY": "avx2"},
    "avx2": {
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",
    },
}
QUICK = (
    "tests/engine/test_cascade.py::test_widths_change_nothing[linf-1]",
    "tests/engine/test_cascade.py::test_orders_and_shards_change_nothing[linf]",
)
WHOLE = (
    "tests/engine/test_cascade.py",
    "tests/engine/test_cascade_budgets.py",
    "tests/engine/test_lanes.py::test_widths_change_nothing_with_a_stand_in",
    "tests/engine/test_shapes.py",
    "tests/engine/test_replay.py::test_every_broken_sample_falls_again_to_its_own_point",
    "tests/models/test_heads.py::test_verdicts_do_not_depend_on_the_width",
    "tests/tasks/attack/test_run.py::test_killed_and_continued_is_bit_equal",
    "tests/tasks/attack/test_points.py::test_killed_and_continued_keeps_the_same_points",
)


def _passes(tests: tuple[str, ...], kernels: str, threads: int, *, strict: bool) -> None:
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MKL_", "ONEDNN_", "ATEN_", "PYTEST_"))
    }
    # The command sets MKL's strict branch where there is one; an empty value is the user's own, and
    # leaves MKL as it is.
    env |= (
        KERNELS[kernels]
        | {"OMP_NUM_THREADS": str(threads), "TEST_THREADS": str(threads)}
        | ({} if strict else {"MKL_CBWR": ""})
    )
    line = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        "0",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:randomly",
        "-m",
        "",
        *tests,
    ]
    done = subprocess.run(line, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert " passed" in done.stdout or "no numbers of rows" in done.stdout, done.stdout[-1000:]


@pytest.mark.parametrize(
    ("kernels", "threads"), [pytest.param("avx2", 1, marks=pytest.mark.slow), ("mkl-sse4", 2)]
)
def test_widths_and_orders_change_nothing(kernels: str, threads: int) -> None:
    """The quickest tests that fail on kernels that round by rows."""
    _passes(QUICK, kernels, threads, strict=True)


@pytest.mark.parametrize("name", [*QUICK, *WHOLE])
def test_the_tests_are_where_they_are_said_to_be(name: str) -> None:
    """A test that moves takes its line here along, or the slow tests below run nothing."""
    file, _, test = name.partition("::")
    assert f"def {test.partition('[')[0]}" in (ROOT / file).read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("kernels", "threads", "strict"), [*itertools.product(KERNELS, (1, 2), (True, False))]
)
def test_everything_invariant_with_all_kernels(kernels: str, threads: int, strict: bool) -> None:
    """Widths, orders, shards, copies, replays and kills; with MKL's strict branch and without."""
    _passes(WHOLE, kernels, threads, strict=strict)
