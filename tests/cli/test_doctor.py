"""`robbench doctor`: healthy here, and what it says where something does not fit."""

from __future__ import annotations

import importlib.metadata
import json
import re
import tomllib
from pathlib import Path

import pytest

from robbench.cli.doctor import EXTRAS

ROOT = Path(__file__).parents[2]


def test_doctor_is_healthy_here(cli):
    """Here nothing is wrong: exit 0, versions of the packages, a device, and the folders."""
    import torch

    done = cli("doctor")
    assert done.code == 0, done.out
    assert "healthy" in done.out
    assert torch.__version__.partition("+")[0] in done.out
    answer = cli("doctor", "--json", env={"ROBBENCH_DATA_DIR": "/some/where"})
    assert answer.code == 0
    assert answer.json["problems"] == []
    assert answer.json["paths"]["data"] == "/some/where"
    assert any(device.startswith("cpu") for device in answer.json["devices"])


@pytest.mark.parametrize("name", ["data", "output"])
@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_a_folder_that_is_a_file(cli, tmp_path, name, below):
    """It cannot be used, nor can any be made in it: exit 1, which one, and how to name another."""
    file = tmp_path / "file"
    file.touch()
    variable = {"data": "ROBBENCH_DATA_DIR", "output": "ROBBENCH_OUT"}
    done = cli("doctor", "--quiet", env={variable[name]: str(file / below)})
    assert done.code == 1
    assert re.fullmatch(rf"PROBLEM   {name} folder .*{file} is a file; .*\n", done.out)


def test_doctor_says_when_torch_came_first(cli, monkeypatch):
    """On an Intel processor doctor advises the MKL setting, or names the one in force."""
    monkeypatch.setattr("robbench.cli.doctor.strict_branch", lambda: "AVX512,STRICT")
    monkeypatch.delenv("MKL_CBWR", raising=False)
    assert "set MKL_CBWR=AVX512,STRICT before torch is imported" in cli("doctor").out
    assert cli("doctor", "--json").json["kernels"] == {"mkl_cbwr": None, "advised": "AVX512,STRICT"}
    done = cli("doctor", env={"MKL_CBWR": "AVX2"})
    assert "MKL_CBWR=AVX2\n" in done.out
    assert "before torch" not in done.out


SEVERAL = """
import contextlib, io, json, sys
from robbench.cli.app import main
for line in sys.argv[1:]:
    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["robbench", *line.split()]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""
"""Runs several command lines in one process: a JSON list of exit codes, stdout, stderr."""
MISMATCH = 'raise RuntimeError("operator torchvision::nms does not exist")\n'


@pytest.mark.slow
def test_a_torchvision_that_does_not_fit(spawn, tmp_path):
    """A torchvision for another torch: doctor gives the remedy and exit 1; digits still work."""
    (tmp_path / "path" / "torchvision").mkdir(parents=True)
    (tmp_path / "path" / "torchvision" / "__init__.py").write_text(MISMATCH)
    env = {"PYTHONPATH": str(tmp_path / "path")}
    ill = spawn("doctor", env=env)
    assert ill.code == 1
    assert "torchvision::nms" in ill.out
    assert "pip install" in ill.out
    assert "Traceback" not in ill.err
    out = tmp_path / "S"
    lines = [
        f"train --model mlp --epochs 1 --limit 100 --name m --quiet --out {out}",
        f"attack m --attack fgsm --limit 20 --json --quiet --out {out}",
        f"train --data mnist --data-dir {mnist_lookalike(tmp_path)} --out {out}",
    ]
    done = spawn(*lines, env=env, code=SEVERAL)
    assert done.code == 0, done.err
    trained, attacked, refused = (json.loads(line) for line in done.out.splitlines())
    assert trained[0] == 0, trained
    assert attacked[0] == 0, attacked
    assert json.loads(attacked[1])["rows"][0]["n_samples"] == 20
    assert (refused[0], refused[2].count("\n")) == (2, 1), refused
    assert "doctor" in refused[2]


def mnist_lookalike(folder):
    """A data folder that looks as if torchvision's MNIST were there."""
    raw = folder / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "train-images-idx3-ubyte").write_bytes(b"")
    return folder / "data"


def test_extras_are_listed_with_their_versions_or_how_to_get_them(cli, monkeypatch):
    """Nobody needs all: one that is missing is no problem."""
    extras = {"timm": ("timm",), "none": ("no-such-package", "timm"), "other": ("nor-this",)}
    monkeypatch.setattr("robbench.cli.doctor.EXTRAS", extras)
    done = cli("doctor")
    assert done.code == 0, done.out
    version = importlib.metadata.version("timm")
    assert f"extras    timm {version}; more with pip install 'robbench[none,other]'" in done.out
    assert cli("doctor --json").json["extras"]["other"] == {"nor-this": None}


def test_every_extra_of_the_project_is_listed():
    """But for those that are for working on it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    packages = {
        extra: tuple(re.match(r"[\w-]+", text)[0] for text in texts)
        for extra, texts in project["optional-dependencies"].items()
        if extra not in ("test", "dev")
    }
    assert packages == EXTRAS
