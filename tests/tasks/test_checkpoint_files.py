"""Weights of other code under the commands: the verdicts of `module:factory`, wherever they lie."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from robbench.data.load import load
from robbench.models.create import create

SOURCE = """
import torch
from torch import nn

def net():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))

def loaded(path):
    model = net()
    saved = torch.load(path, weights_only=True)["state_dict"]
    model.load_state_dict({name.removeprefix("module."): w for name, w in saved.items()})
    return nn.Sequential(Half(), model)

class Half(nn.Module):
    def forward(self, x):
        return (x - 0.5) / 0.5
"""
COMMON = "--data digits --attack pgd:steps=4 --threat linf:0.1 --limit 30 --quiet"
ARCH = "arch=(mlp:width=16,depth=1),mean=0.5,std=0.5"


@pytest.fixture
def folder(private: Callable[..., Path]) -> Path:
    """With `nets.py`, a file of its network and one of our `mlp`, of equal weights."""
    cwd = private("nets", SOURCE)
    torch.manual_seed(0)
    split = load("digits", "train")
    model = create("mlp:width=16,depth=1", split.info())
    model.normalize = nn.Identity()
    x, optimizer = (
        (split.pixels(slice(None)) - 0.5) / 0.5,
        torch.optim.Adam(model.parameters(), 0.01),
    )
    for _ in range(60):
        loss = nn.functional.cross_entropy(model(x), split.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    own = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    names = {"body.1": "1", "head": "3"}
    theirs = {
        f"module.{names[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}": tensor
        for name, tensor in model.state_dict().items()
    }
    torch.save({"state_dict": own}, cwd / "own.pth")
    torch.save({"state_dict": theirs}, cwd / "theirs.pth.tar")
    return cwd


def verdicts(folder: Path, run: str) -> list[dict[str, Any]]:
    columns = ["sample_id", "clean_correct", "adversarial", "clean_margin", "adv_margin"]
    return pq.read_table(
        folder / "results" / "samples" / f"{run}.parquet", columns=columns
    ).to_pylist()


def test_verdicts_are_those_of_the_factory(
    cli: Callable[..., Any], folder: Path, tmp_path: Path
) -> None:
    """In an architecture of ours and in one of private code."""
    specs = (
        "checkpoint:theirs.pth.tar,arch=nets:net,mean=0.5,std=0.5",
        f"checkpoint:own.pth,{ARCH}",
    )
    words = ("attack", "nets:loaded:path=theirs.pth.tar", *specs, *COMMON.split(), "--json")
    done = cli(*words, "--out", tmp_path / "S", cwd=folder)
    assert done.code == 0, done.err
    first, *others = (verdicts(tmp_path / "S", row["run_id"]) for row in done.json["rows"])
    assert 0 < sum(row["adversarial"] for row in first) < len(first)
    for found in others:
        for mine, expected in zip(found, first, strict=True):
            assert mine == pytest.approx(expected, abs=1e-4)
    assert [row["model"] for row in done.json["rows"]][1:] == ["theirs", "own"]


@pytest.mark.slow
def test_a_file_that_was_moved_is_the_same_run_for_every_command(
    cli: Callable[..., Any], folder: Path, tmp_path: Path
) -> None:
    """Repeated, it is not attacked again; where it went is told by --model."""
    out = ("--out", tmp_path / "S")
    attack = ("attack", f"checkpoint:own.pth,{ARCH}", *COMMON.split(), "--json", *out)
    run = cli(*attack, "--store-points", cwd=folder).json["rows"][0]
    rows = tmp_path / "S" / "results" / "samples" / f"{run['run_id']}.parquet"
    written = rows.stat().st_mtime_ns
    (folder / "moved").mkdir()
    shutil.move(folder / "own.pth", folder / "moved")
    spec = f"checkpoint:moved/own.pth,{ARCH},key=state_dict,prefix=module"
    again = cli("attack", spec, *attack[2:], "--store-points", cwd=folder)
    assert [row["run_id"] for row in again.json["rows"]] == [run["run_id"]]
    assert rows.stat().st_mtime_ns == written
    refused = cli("check", "own", "--limit", 4, *out, cwd=folder)
    assert refused.code == 2
    assert "no file of weights at own.pth" in refused.err
    assert "give its place with --model" in refused.err
    assert cli("check", "own", "--model", spec, "--limit", 4, *out, cwd=folder).code in (0, 1)
    assert cli("measure", "own", "--model", spec, *out, cwd=folder).code == 0
    assert cli("baseline", "set", "own", *out, cwd=folder).code == 0
    assert cli("gate", "--model", spec, "--max-drop", 40, *out, cwd=folder).code == 0
    assert cli("report", "--html", tmp_path / "r.html", *out, cwd=folder).code == 0


def test_a_file_that_was_moved_keeps_its_name(
    cli: Callable[..., Any], folder: Path, tmp_path: Path
) -> None:
    """Another file may not take it."""
    limits = ("--data", "digits", "--attack", "fgsm", "--limit", 9)
    words = (*limits, "--name", "mine", "--out", tmp_path / "S")
    assert cli("attack", f"checkpoint:own.pth,{ARCH}", *words, cwd=folder).code == 0
    (folder / "moved").mkdir()
    shutil.move(folder / "own.pth", folder / "moved")
    moved = f"checkpoint:moved/own.pth,{ARCH}"
    assert cli("attack", moved, *words, "--threat", "linf:0.2", cwd=folder).code == 0
    content = torch.load(folder / "moved" / "own.pth")
    content["state_dict"]["module.head.bias"] += 1
    torch.save(content, folder / "own2.pth")
    refused = cli("attack", f"checkpoint:own2.pth,{ARCH}", *words, cwd=folder)
    assert refused.code == 2
    assert "--name mine belongs to another model" in refused.err


def test_training_starts_from_it_and_needs_it_no_more(
    cli: Callable[..., Any], folder: Path, tmp_path: Path
) -> None:
    out = ("--out", tmp_path / "S", "--quiet")
    words = ("--data", "digits", "--loss", "cross-entropy", "--epochs", 1, "--limit", 60)
    done = cli(
        "train",
        "--model",
        f"checkpoint:own.pth,{ARCH}",
        *words,
        "--name",
        "tuned",
        *out,
        cwd=folder,
    )
    assert done.code == 0, done.err
    (folder / "own.pth").unlink()
    done = cli("attack", "tuned", *COMMON.split(), "--json", "--out", tmp_path / "S", cwd=folder)
    assert done.code == 0, done.err
    assert done.json["rows"][0]["clean_accuracy"] > 0.8


class Runs:
    """Unpickled, it would make a folder."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return Path.mkdir, (Path("made"),)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("own.pth", "needs its architecture: checkpoint:own.pth,arch=SPEC"),
        ("checkpoint:own.pth", "arch must be given"),
        ("checkpoint:half.pth,arch=mlp", "truncated"),
        ("checkpoint:hostile.pth,arch=mlp", "which runs code"),
        ("hostile.pth", "which runs code"),
        (
            "checkpoint:own.pth,arch=(mlp:width=8)",
            r"body.1.weight is \(16, 64\) instead of \(8, 64\)",
        ),
        ("checkpoint:own.pth,arch=wide-resnet", "does not fit wide-resnet"),
        ("checkpoint:own.pth,arch=nothing", "unknown model 'nothing'"),
        ("checkpoint:own.pth,arch=mlp,key=ema", "no tensors at key=ema"),
        ("mlp:weights=own.pth", "a file of weights is checkpoint:FILE,arch=SPEC"),
    ],
)
def test_bad_files_and_specs_end_in_one_line(
    cli: Callable[..., Any], folder: Path, tmp_path: Path, text: str, words: str
) -> None:
    torch.save({"state_dict": {}, "x": Runs()}, folder / "hostile.pth")
    whole = (folder / "own.pth").read_bytes()
    (folder / "half.pth").write_bytes(whole[: len(whole) // 2])
    done = cli("attack", text, *COMMON.split(), "--out", tmp_path / "S", cwd=folder)
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert re.search(words, done.err), done.err
    assert not (folder / "made").exists()
    assert not (tmp_path / "S").exists()
