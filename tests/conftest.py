"""Shared by all tests: the command in this process, and two models trained once."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import random
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
import typer
from hypothesis import settings

from robbench.analysis.summary import summarise
from robbench.core.reproducible import prepare
from robbench.store import provenance
from robbench.store.run import Run, read_run
from robbench.store.schema import RUNS
from robbench.store.store import Store

prepare()  # as the command does, before any test loads torch
settings.register_profile("robbench", deadline=None, derandomize=True)
settings.load_profile("robbench")

# The two trainings of the main example; {S} is the output folder.
TRAIN_CE = "train --data digits --loss cross-entropy --epochs 2 --name ce --out {S}"
TRAIN_AT = (
    "train --data digits --loss cross-entropy --inner pgd:steps=7 --threat linf:0.15 "
    "--epochs 2 --name at --out {S}"
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a test that is marked `few(n)` only n cases, spread over all, are not slow."""
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("few"):
            cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for found in cases.values():
        (n,) = found[0].get_closest_marker("few").args  # type: ignore[union-attr]
        kept = {round(i * (len(found) - 1) / (n - 1)) for i in range(n)}
        for place, item in enumerate(found):
            if place not in kept:
                item.add_marker(pytest.mark.slow)


class Result(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The JSON object on stdout, and nothing else there."""
        return json.loads(self.out)


@pytest.fixture(scope="session")
def one_thread() -> Iterator[None]:
    """One thread for torch, here and in child processes: small tensors gain nothing from more.

    TEST_THREADS gives another number, to tests of what must hold for any.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(int(os.environ.get("TEST_THREADS", "1")))
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """No test depends on what those before it have drawn."""
    random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def _once() -> Iterator[None]:
    """Made once for all commands of this process: the parsers, and what git says of our checkout.

    Writes do not wait for the disk.
    """
    here, ask = Path.cwd(), provenance._run_git
    known = functools.cache(ask)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", functools.cache(typer.main.get_command))
        patch.setattr(
            provenance, "_run_git", lambda *words: (known if Path().samefile(here) else ask)(*words)
        )
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(autouse=True)
def import_path() -> Iterator[None]:
    """The import path stays as it was: private code leaves its folder there."""
    path, before = sys.path, list(sys.path)
    yield
    sys.path = path
    path[:] = before


def _clean_environment(**more: str) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ROBBENCH_", "GITHUB_"))
    }
    return kept | {"COLUMNS": "80", "TERM": "dumb", "OMP_NUM_THREADS": "1"} | more


def _in_process(
    line: str = "", *words: str | Path, env: dict[str, str] | None = None, cwd: Path | None = None
) -> Result:
    from robbench.cli.app import main

    out, err = io.StringIO(), io.StringIO()
    argv = ["robbench", *shlex.split(line), *map(str, words)]
    with (
        mock.patch.object(sys, "argv", argv),
        mock.patch.dict(os.environ, _clean_environment(**(env or {})), clear=True),
        contextlib.chdir(cwd or Path.cwd()),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
            code: Any = 0
        except SystemExit as exit_:
            code = exit_.code
    return Result(0 if code is None else code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def cli(one_thread: None) -> Callable[..., Result]:
    """`cli("train --epochs 2 --out", folder)`: the command in process, its code and streams."""
    return _in_process


@pytest.fixture(params=["loops", "operators"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice: with the loops of core/fused.py, and with torch's operators as without numba."""
    from robbench.core import fused

    if request.param == "operators":
        monkeypatch.setattr(fused, "_kernels", lambda: None)


@pytest.fixture
def step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lane looks who has ended, and tells of it, after every step."""
    from robbench.engine import lane

    monkeypatch.setattr(lane, "CPU_SECONDS", -1.0)


@pytest.fixture(scope="session")
def spawn() -> Callable[..., Result]:
    """`spawn("list")`: `python -m robbench list` as a process of its own."""

    def run(
        *words: str | Path,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
        code: str | None = None,
    ) -> Result:
        start = ["-c", code] if code else ["-m", "robbench"]
        done = subprocess.run(
            [sys.executable, *start, *map(str, words)],
            env=_clean_environment(**(env or {})),
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def environment() -> Callable[..., dict[str, str]]:
    """This process' environment without ROBBENCH_* and GITHUB_* variables, with the given ones."""
    return _clean_environment


@contextlib.contextmanager
def _for_all(folder: Path) -> Iterator[Path]:
    """A folder that tests share: the session fails where one of them changed a file of it."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    yield folder
    assert [path for path, content in before.items() if path.read_bytes() != content] == []


@pytest.fixture(scope="session")
def for_all() -> Callable[[Path], contextlib.AbstractContextManager[Path]]:
    """For a folder of a whole session: its files must not change until the `with` block ends."""
    return _for_all


@pytest.fixture(scope="session")
def trained(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An output folder with the trained models `ce` and `at`. Not to be written to: see `store`."""
    folder = tmp_path_factory.mktemp("trained") / "S"
    for line in (TRAIN_CE, TRAIN_AT):
        done = _in_process(line.format(S=folder))
        assert done.code == 0, done.err
    with _for_all(folder):
        yield folder
    assert not (folder / "results").exists(), "a test wrote to the folder of all: see `store`"


@pytest.fixture
def store(trained: Path, tmp_path: Path) -> Path:
    """An output folder of one's own that holds the models `ce` and `at`."""
    return shutil.copytree(trained, tmp_path / "S")


@pytest.fixture
def snapshot() -> Callable[[Path], dict[str, tuple[int, bytes]]]:
    """A folder's paths with modification time and content, to show that nothing was touched."""

    def take(folder: Path) -> dict[str, tuple[int, bytes]]:
        if not folder.exists():
            return {}
        found = sorted([folder, *folder.rglob("*")])
        return {
            str(path.relative_to(folder)): (
                path.stat().st_mtime_ns,
                path.read_bytes() if path.is_file() else b"",
            )
            for path in found
        }

    return take


@pytest.fixture
def private(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Writes `name.py` into a working folder, which it returns; the module is forgotten later."""
    names = []

    def write(name: str, source: str) -> Path:
        folder = tmp_path / "cwd"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.py").write_text(source)
        sys.modules.pop(name, None)
        names.append(name)
        return folder

    yield write
    for name in names:
        sys.modules.pop(name, None)


Rows = list[dict[str, Any]]


@pytest.fixture
def make_samples() -> Callable[..., Rows]:
    """Sample rows by (n, seed, breakable): the chance that a clean-correct sample is broken."""

    def make(n: int = 20, seed: int = 0, breakable: float = 0.5, first: int = 0) -> Rows:
        rng = np.random.default_rng(seed)
        rows = []
        for i in range(first, first + n):
            correct = bool(rng.random() < 0.9)
            adversarial = not correct or bool(rng.random() < breakable)
            rows.append(
                {
                    "sample_id": 1000 + 7 * i,
                    "sample_index": i,
                    "label": 3,
                    "clean_pred": 3 if correct else 4,
                    "clean_margin": float(rng.normal(5 if correct else -5)),
                    "clean_pmargin": 0.75,
                    "adv_pred": 4 if adversarial else 3,
                    "adv_margin": float(rng.normal(-1 if adversarial else 1)),
                    "adv_pmargin": -0.25,
                    "clean_correct": correct,
                    "adversarial": adversarial,
                    "robust": not adversarial,
                    "dist_linf": 0.125 if adversarial else None,
                    "dist_l2": None,
                    "broken_by": "pgd:steps=10" if adversarial and correct else None,
                    "broken_variant": 2 if adversarial and correct else None,
                    "first_success_step": 5 if adversarial else None,
                    "n_forward": int(rng.integers(1, 100)),
                    "n_backward": int(rng.integers(1, 100)),
                    "status": 0,
                }
            )
        return rows

    return make


@pytest.fixture
def make_run() -> Callable[..., dict[str, Any]]:
    """A row for the runs table, counted from `samples`; `age` seconds later than the first."""

    def make(run_id: str, samples: Rows, age: int = 0, **changes: Any) -> dict[str, Any]:
        start = datetime(2026, 1, 1, 12, tzinfo=UTC) + timedelta(seconds=age)
        row: dict[str, Any] = {
            field.name: "x"
            for field in RUNS
            if not field.nullable and pa.types.is_string(field.type)
        }
        row |= {"started_at": start, "finished_at": start + timedelta(seconds=3)}
        row |= {"run_id": run_id, "model": "ce", "loss": "ce", "data": "digits", "split": "test"}
        del row["status"]
        row |= {
            "norm": "linf",
            "eps": 0.15,
            "threat": "linf:0.15",
            "attack": "pgd:steps=10",
            "attack_params": "[]",
            "seed": 0,
        }
        row |= {
            "wall_s": 1.5,
            "batch_size": 64,
            "deterministic": False,
            "config": "{}",
            "provenance": "{}",
        }
        return row | summarise(samples) | changes

    return make


@pytest.fixture
def stored(
    tmp_path: Path, make_samples: Callable[..., Rows], make_run: Callable[..., dict[str, Any]]
) -> Callable[..., Run]:
    """Write a run to the store in tmp_path and read it back."""

    def store(run_id: str, samples: Rows | None = None, **changes: Any) -> Run:
        samples = make_samples() if samples is None else samples
        return read_run(Store(tmp_path).write(make_run(run_id, samples, **changes), samples))

    return store
