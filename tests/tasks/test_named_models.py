"""Models of other libraries in whole commands: judged by content, trained, built again."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from PIL import Image

from robbench.data.vision import CIFAR10
from robbench.models.libraries import library

SMALL = "timm:test_efficientnet"
SETTING = "--data digits --attack pgd:steps=4 --threat linf:0.1 --limit 40"
OWN = """
import torch
from torch import nn

class Own(nn.Module):
    def __init__(self, file):
        super().__init__()
        from robbench.models.libraries import library
        timm = library("timm", "timm")
        self.net = timm.create_model("test_efficientnet", num_classes=10, in_chans=1)
        self.net.load_state_dict(torch.load(file, weights_only=True))
    def forward(self, x):
        return self.net((x - 0.5) / 0.25)

def make(file):
    return Own(file)
"""


@pytest.fixture
def weights(tmp_path):
    """A file of weights for grey images of ten classes, whose logits differ between images."""
    torch.manual_seed(0)
    model = library("timm", "timm").create_model("test_efficientnet", num_classes=10, in_chans=1)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.weight *= 3
        model.classifier.weight *= 30
    torch.save(model.state_dict(), tmp_path / "w.pt")
    return tmp_path / "w.pt"


def spec_of(weights):
    return f"{SMALL},weights={weights},mean=0.5,std=0.25"


def rows(out, rows_of):
    """The samples of each run, without what names it."""
    paths = sorted((out / "results" / "samples").glob("*.parquet"))
    return {path.stem: rows_of(path, "run_id") for path in paths}


def test_the_verdicts_are_those_of_the_model_in_code(cli, private, weights, tmp_path, rows_of):
    """The same network as `module:factory`: equal rows; and clean answers of both kinds."""
    folder, out = private("own_named", OWN), tmp_path / "S"
    for model in (spec_of(weights), f"own_named:make:file={weights}"):
        done = cli(f"attack {model} {SETTING} --out", out, cwd=folder)
        assert done.code == 0, done.err
    one, other = rows(out, rows_of).values()
    assert one == other
    assert len({row["clean_pred"] for row in one}) > 1


def test_the_place_of_the_weights_is_no_part_of_a_run(cli, weights, tmp_path, rows_of):
    """Moved, they are the same run; other weights are another. The label has no folder."""
    out = tmp_path / "S"
    first = cli(f"attack {spec_of(weights)} {SETTING} --json --out", out)
    assert first.code == 0, first.err
    assert first.json["rows"][0]["model"] == f"{SMALL},weights=w.pt,mean=0.5,std=0.25"
    moved = tmp_path / "there" / "w.pt"
    moved.parent.mkdir()
    weights.rename(moved)
    assert cli(f"attack {spec_of(moved)} {SETTING} --out", out).code == 0
    assert len(rows(out, rows_of)) == 1
    state = torch.load(moved, weights_only=True)
    torch.save({key: value * 1.5 for key, value in state.items()}, moved)
    assert cli(f"attack {spec_of(moved)} {SETTING} --out", out).code == 0
    assert len(rows(out, rows_of)) == 2


def test_a_fine_tuned_model_needs_its_first_weights_no_more(cli, weights, tmp_path):
    """Its folder has what it takes to build it; a new head replaces one of other classes."""
    out = tmp_path / "S"
    settings = "--data digits[1,7,8] --limit 100 --epochs 1 --name tuned"
    done = cli(f"train --model {spec_of(weights)} {settings} --out", out)
    assert done.code == 0, done.err
    weights.unlink()
    again = cli("attack tuned --attack fgsm --threat linf:0.1 --limit 20 --json --out", out)
    assert again.code == 0, again.err
    (run,) = again.json["rows"]
    assert run["n_samples"] == 20


def test_a_model_from_scratch_is_trained_and_attacked(cli, tmp_path):
    """`pretrained=false`: no weights of the library are looked for."""
    out = tmp_path / "S"
    settings = "--data digits --limit 100 --epochs 1 --name new"
    done = cli(f"train --model {SMALL},pretrained=false {settings} --out", out)
    assert done.code == 0, done.err
    assert cli("attack new --attack fgsm --threat linf:0.1 --limit 20 --out", out).code == 0


@pytest.fixture
def zoo(tmp_path):
    """A zoo of robustbench with one model of random weights, listed under L2 on CIFAR-10."""
    from robbench.models.robustbench import _importable

    with _importable():
        library("robustbench.utils", "robustbench")
    lists = sys.modules["robustbench.utils"].all_models
    cifar10 = next(models for data, models in lists.items() if data.value == "cifar10")
    threat = next(models for threat, models in cifar10.items() if threat.value == "L2")
    path = tmp_path / "zoo" / "cifar10" / "L2" / "Rice2020Overfitting.pt"
    path.parent.mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(threat["Rice2020Overfitting"]["model"]().state_dict(), path)
    return tmp_path / "zoo"


def test_a_model_of_the_zoo_brings_its_data_and_threat_model(cli, zoo, tmp_path):
    """CIFAR-10 where no data are named, and l2:0.5 rather than the data's linf:8/255."""
    spec = f"robustbench:Rice2020Overfitting,threat=L2,dir={zoo}"
    empty = tmp_path / "empty"
    done = cli(f"attack {spec} --attack fgsm --data-dir {empty} --out", tmp_path / "S")
    assert done.code == 2
    assert "cifar-10-batches-py" in done.err
    noise = np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3), np.uint8)
    for name, image in zip(CIFAR10.classes, noise, strict=True):
        (tmp_path / "images" / "test" / name).mkdir(parents=True)
        Image.fromarray(image).save(tmp_path / "images" / "test" / name / "0.png")
    data = f"--data folder:{tmp_path / 'images'}"
    done = cli(f"attack {spec} {data} --attack pgd:steps=1 --dry-run --out", tmp_path / "S")
    assert done.code == 0, done.err
    assert [run["threat"] for run in done.json["runs"]] == ["l2:0.5"]
