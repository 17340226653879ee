"""What produced a number: versions, machine, command line and git state.

Nothing is imported to learn its version, and of the environment only threading, kernels and
ROBBENCH_* variables are kept.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import robbench
from robbench.core.escaping import without_password

PACKAGES = ("torch", "torchvision", "numpy", "pandas", "pyarrow", "pyautoattack")
_NUMERICS = (
    *(
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
    ),
    *("MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY"),
)
_SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|CREDENTIAL|KEY", re.IGNORECASE)


def provenance() -> dict[str, Any]:
    """Plain JSON values about the running process and its working folder.

    python version, packages (None = not installed), platform, cpu, cpu_count (usable cores), argv,
    git_sha and git_dirty (None outside a checkout or without git), env.
    """
    sha, dirty = _git()
    return {
        "python": platform.python_version(),
        "packages": {
            "robbench": robbench.__version__,
            **{name: _version(name) for name in PACKAGES},
        },
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cpu_count": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "argv": [without_password(word) for word in sys.argv],
        "git_sha": sha,
        "git_dirty": dirty,
        "env": {
            name: without_password(value)
            for name, value in sorted(os.environ.items())
            if _is_kept(name)
        },
    }


def _is_kept(name: str) -> bool:
    return name in _NUMERICS or (name.startswith("ROBBENCH_") and not _SECRET.search(name))


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu() -> str:
    info = Path("/proc/cpuinfo")  # platform.processor() is empty or just "x86_64" on Linux
    found = (
        re.search(r"^model name\s*:\s*(.+)$", info.read_text(errors="replace"), re.MULTILINE)
        if info.exists()
        else None
    )
    return found[1].strip() if found else platform.processor() or platform.machine()


def _git() -> tuple[str | None, bool | None]:
    sha = _run_git("rev-parse", "HEAD")
    # Untracked files do not count, as in `git describe --dirty`: our own output folder would make
    # every checkout dirty. Nor do changes inside submodules, whose own settings git would follow.
    changes = (
        _run_git("status", "--porcelain", "--untracked-files=no", "--ignore-submodules=dirty")
        if sha
        else None
    )
    return sha, None if changes is None else bool(changes)


_QUIET = ("core.fsmonitor=false", "core.hooksPath=/dev/null", "status.submoduleSummary=false")
_ENVIRONMENT = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "none",
}


def _run_git(*arguments: str) -> str | None:
    """Output of git, None when there is no git, no checkout, or no answer within five seconds.

    The settings of the folder may be another's, and name programs for git to run: those are
    switched off.
    """
    filters = _no_filters() if arguments[0] == "status" else []
    if filters is None:
        return None
    words = [
        "git",
        "--no-pager",
        *(word for setting in (*_QUIET, *filters) for word in ("-c", setting)),
        *arguments,
    ]
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
            env=os.environ | _ENVIRONMENT,
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.strip()


def _no_filters() -> list[str] | None:
    """Settings that empty every filter of file contents that git knows here.

    None where one cannot be named by `-c`.
    """
    names = (
        _run_git("config", "--name-only", "--get-regexp", r"^filter\..*\.(clean|process|required)$")
        or ""
    )
    if "=" in names:
        return None
    return [
        f"{name}={'false' if name.endswith('.required') else ''}" for name in names.splitlines()
    ]
