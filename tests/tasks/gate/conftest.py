"""A baseline of a few digits under one step."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from robbench.analysis.gate_checks import Tolerances
from robbench.store.run import Run, read_run
from robbench.tasks.gate.plan import GatePlan, plan_gate


@pytest.fixture(scope="module")
def baseline_path(attacked_in: Callable[[str], Path]) -> Path:
    """The file of the baseline's row. Not to be written to."""
    out = attacked_in("attack at --attack fgsm --threat linf:0.1 --limit 20 --out")
    (path,) = (out / "results" / "runs").glob("*.parquet")
    return path


@pytest.fixture(scope="module")
def attacked_in(
    cli: Callable, trained: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Runs a command in an output folder of its own, with the trained models of digits."""

    def run(words: str) -> Path:
        out = shutil.copytree(trained, tmp_path_factory.mktemp("based") / "S")
        done = cli(words, out)
        assert done.code == 0, done.err
        return out

    return run


@pytest.fixture(scope="module")
def planned(baseline_path: Path) -> Callable[..., GatePlan]:
    """Plans a gate of model `ce`, with changes to the baseline's row."""
    run = read_run(baseline_path)

    def plan(tolerances: Tolerances | None = None, **changes: object) -> GatePlan:
        return plan_gate(
            "ce",
            Run(run.info | changes, run.samples),
            baseline_path,
            tolerances or Tolerances(),
            seed=0,
            batch_size=None,
            out=baseline_path.parents[2],
            device="cpu",
            data_dir=None,
            download=False,
        )

    return plan
