"""Models of other libraries in whole commands: judged by content, trained, built again."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from PIL import Image

from robbench.data.vision import CIFAR10
from robbench.models.sources.libraries import library
from robbench.models.sources.robustbench import _importable

SMALL = "timm:test_efficientnet"
SETTING = "--data digits --attack pgd:steps=4 --threat linf:0.1 --limit 40"
OWN = """
import torch
from torch import nn
from robbench.models.sources.libraries import library
from robbench.models.sources.robustbench import _importable

class Own(nn.Module):
    def __init__(self, net, mean, std):
        super().__init__()
        self.net, self.mean, self.std = net, mean, std
    def forward(self, x):
        return self.net((x - self.mean) / self.std)

def timm(place):
    net = library("timm", "timm").create_model("test_efficientnet", num_classes=10, in_chans=1)
    net.load_state_dict(torch.load(place, weights_only=True))
    return Own(net, 0.5, 0.25)

def torchvision(place):
    net = library("torchvision", "").models.get_model("mnasnet0_5", weights=None, num_classes=10)
    net.load_state_dict(torch.load(place, weights_only=True))
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    return Own(net, mean, torch.tensor([0.229, 0.224, 0.225])[:, None, None])

def hf(place):
    net = library("transformers", "hf").AutoModelForImageClassification.from_pretrained(place)
    return Own(net, 0.5, 0.5)

def robustbench(place):
    import sys
    zoo = sys.modules["robustbench.utils"]
    return zoo.load_model("Tiny2020", place, "cifar10", "L2")
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


def same_verdicts(cli, folder, out, rows_of, spec, own, setting):
    """Two runs, of a name and of the same network in code, have equal rows."""
    for model in (spec, own):
        done = cli(f"attack {model} {setting} --out", out, cwd=folder)
        assert done.code == 0, done.err
    one, other = rows(out, rows_of).values()
    assert one == other
    return one


def test_the_verdicts_are_those_of_the_model_in_code(cli, private, weights, tmp_path, rows_of):
    """The same network as `module:factory`, with clean answers of several classes."""
    folder, own = private("own_named", OWN), f"own_named:timm:place={weights}"
    found = same_verdicts(cli, folder, tmp_path / "S", rows_of, spec_of(weights), own, SETTING)
    assert len({row["clean_pred"] for row in found}) > 1


@pytest.fixture
def images(tmp_path):
    """The spec of a folder with an image of noise for each class of CIFAR-10."""
    noise = np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3), np.uint8)
    for name, image in zip(CIFAR10.classes, noise, strict=True):
        (tmp_path / "images" / "test" / name).mkdir(parents=True)
        Image.fromarray(image).save(tmp_path / "images" / "test" / name / "0.png")
    return f"folder:{tmp_path / 'images'}"


def test_so_are_those_of_a_classifier_of_torchvision(cli, private, images, tmp_path, rows_of):
    torch.manual_seed(0)
    models = library("torchvision", "torchvision").models
    net, place = models.get_model("mnasnet0_5", weights=None, num_classes=10), tmp_path / "w.pt"
    torch.save(net.state_dict(), place)
    spec, own = f"torchvision:mnasnet0_5,weights={place}", f"own_named:torchvision:place={place}"
    setting = f"--data {images} --attack pgd:steps=2 --threat linf:4/255"
    same_verdicts(cli, private("own_named", OWN), tmp_path / "S", rows_of, spec, own, setting)


def test_so_are_those_of_a_model_of_transformers(cli, private, images, tmp_path, rows_of):
    transformers, place = library("transformers", "hf"), tmp_path / "vit"
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=32,
        patch_size=8,
        id2label=dict(enumerate(CIFAR10.classes)),
    )
    transformers.ViTForImageClassification(config).save_pretrained(place)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(place)
    setting = f"--data {images} --attack pgd:steps=2 --threat linf:4/255"
    folder, own = private("own_named", OWN), f"own_named:hf:place={place}"
    same_verdicts(cli, folder, tmp_path / "S", rows_of, f"hf:{place}", own, setting)


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


def tiny():
    """A linear model of images of CIFAR-10."""
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 10))


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    """The folder of a zoo with one more model, listed under L2 on CIFAR-10."""
    with _importable():
        library("robustbench.utils", "robustbench")
    lists = sys.modules["robustbench.utils"].all_models
    cifar10 = next(models for data, models in lists.items() if data.value == "cifar10")
    known = next(models for threat, models in cifar10.items() if threat.value == "L2")
    monkeypatch.setitem(known, "Tiny2020", {"model": tiny, "gdrive_id": "none"})
    path = tmp_path / "zoo" / "cifar10" / "L2" / "Tiny2020.pt"
    path.parent.mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(tiny().state_dict(), path)
    return tmp_path / "zoo"


def test_a_model_of_the_zoo_brings_its_data_and_threat_model(
    cli, private, zoo, images, tmp_path, rows_of
):
    """CIFAR-10 where no data are named, and l2:0.5 rather than the data's linf:8/255."""
    spec = f"robustbench:Tiny2020,threat=L2,dir={zoo}"
    empty = tmp_path / "empty"
    done = cli(f"attack {spec} --attack fgsm --data-dir {empty} --out", tmp_path / "S")
    assert done.code == 2
    assert "cifar-10-batches-py" in done.err
    setting = f"--data {images} --attack pgd:steps=1"
    done = cli(f"attack {spec} {setting} --dry-run --out", tmp_path / "S")
    assert done.code == 0, done.err
    assert [run["threat"] for run in done.json["runs"]] == ["l2:0.5"]
    folder, own = private("own_named", OWN), f"own_named:robustbench:place={zoo}"
    setting += " --threat l2:0.5"
    same_verdicts(cli, folder, tmp_path / "S", rows_of, spec, own, setting)
