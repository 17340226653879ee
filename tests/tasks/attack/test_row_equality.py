"""A model's row equality is in its run, in `show`, and in a warning where nothing agrees."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

MODELS = """
import torch
from torch import nn

class Exact(nn.Module):
    '''Pixel 5 decides; equal in any batch of any processor.'''
    def forward(self, x):
        z = 8 * (x.flatten(1)[:, 20:30] - 0.5)
        return self.bend(z)

    def bend(self, z):
        return z

class Small(Exact):
    def bend(self, z):
        return z + 1e-7 * (len(z) < 16)

class Place(Exact):
    def bend(self, z):
        return z * (1 + 1e-6 * (torch.arange(len(z)) % 8 == 7))[:, None]

class Drawn(Exact):
    def bend(self, z):
        return z + torch.rand_like(z)
"""


@pytest.fixture
def attack(
    cli: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[dict[str, Any], Any, str]]:
    """Attacks a model of MODELS: the run's row, its samples without random parts, stderr."""
    (tmp_path / "rowmodels.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)

    def run(name: str, *more: Any) -> tuple[dict[str, Any], Any, str]:
        line = (
            f"attack rowmodels:{name} --data digits --limit 40 --attack pgd:steps=3 "
            f"--threat linf:0.1 --json --out {name}"
        )
        done = cli(*line.split(), *more)
        assert done.code == 0, done.err
        (row,) = done.json["rows"]
        folder = tmp_path / name / "results"
        (info,) = pq.read_table(folder / "runs" / f"{row['run_id']}.parquet").to_pylist()
        samples = (
            pq.read_table(folder / "samples" / f"{row['run_id']}.parquet")
            .drop_columns(["run_id"])
            .to_pylist()
        )
        return info, samples, done.err

    return run


@pytest.mark.parametrize(("name", "step"), [("Exact", 4), ("Small", 16)])
def test_the_run_says_what_was_measured(
    name: str, step: int, attack: Callable, cli: Callable
) -> None:
    """The smallest step whose multiples agree, and verdicts independent of batch size."""
    info, one, err = attack(name, "--batch-size", 1, "--force")
    assert (info["row_step"], info["deterministic"]) == (step, True)
    assert "batch" not in err
    shown = cli("show", info["run_id"], "--out", name).out
    assert f"asked in multiples of {step}; bit-equal at any batch size" in " ".join(shown.split())
    assert cli("show", info["run_id"], "--out", name, "--json").json["run"]["row_step"] == step
    assert attack(name, "--batch-size", 64, "--force")[1] == one


@pytest.mark.parametrize(("name", "flag"), [("Place", "rounding"), ("Drawn", "random")])
def test_where_nothing_is_equal_there_is_one_warning(
    name: str, flag: str, attack: Callable, cli: Callable
) -> None:
    """The attack ends, the run says that verdicts depend on batch size; one flag says why."""
    info, samples, err = attack(name)
    assert len(samples) == 40
    assert info["deterministic"] is False
    assert [
        found["name"]
        for found in json.loads(info["flags"])
        if found["name"] in ("rounding", "batch", "random")
    ] == [flag]
    assert ("another place in a batch" in err) == (flag == "rounding")
    shown = " ".join(cli("show", info["run_id"], "--out", name).out.split())
    assert "not proved to be bit-equal at other batch sizes" in shown
