"""A sweep on other engines: the same tables, and a killed worker costs a try."""

import json

import pytest

from robbench.store.tasks import read_tasks

GRID = (
    "sweep --name s --grid loss=cross-entropy,label-smoothing,trades,mart --grid seed=0..1 "
    "--grid threat=linf:0.05,linf:0.1 --data digits --epochs 1 --limit 40 --attack pgd:steps=2 "
    "--set model=mlp:width=8,depth=1 --json --out"
)
DEADLY = """
import os, pathlib, signal
from dataclasses import dataclass
from robbench.losses.cross_entropy import CrossEntropy

@dataclass(frozen=True, kw_only=True)
class Deadly(CrossEntropy):
    def __call__(self, step):
        mark = pathlib.Path("killed")
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(step)
"""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def plain(cli, tmp_path_factory):
    """The table of `GRID`, one task after the other."""
    return table(cli(GRID, tmp_path_factory.mktemp("plain")))


def table(done):
    assert done.code == 0, done.err
    return [{**row, "wall_s": None} for row in done.json["rows"]]


def test_two_workers(cli, plain, tmp_path):
    assert table(cli(f"{GRID} {tmp_path} --jobs 2")) == plain


def test_a_ray_cluster(cli, plain, tmp_path):
    pytest.importorskip("ray")
    assert table(cli(f"{GRID} {tmp_path} --engine ray --jobs 2")) == plain


def test_a_killed_worker_costs_its_task_a_try(spawn, tmp_path):
    (tmp_path / "deadly.py").write_text(DEADLY)
    words = (
        "sweep --name s --grid loss=cross-entropy,deadly:Deadly --data digits --epochs 1 "
        "--limit 40 --attack fgsm --set model=mlp:width=8,depth=1 --jobs 2 --json"
    )
    done = spawn(*words.split(), "--retries", "1", cwd=tmp_path)
    assert done.code == 0, done.err
    assert json.loads(done.out)["tasks"] == {"total": 4, "computed": 4, "done": 4}
    rows = read_tasks(tmp_path / "runs" / "results" / "sweeps" / "s.parquet")
    assert [row["tries"] for row in rows] == [1, 1, 2, 1]
