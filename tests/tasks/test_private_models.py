"""Models of all habits under the command: the plain network's numbers, one JSON object."""

from __future__ import annotations

import json
import math

import pyarrow.parquet as pq
import pytest

SOURCE = """
import argparse, os, warnings
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.checkpoint import checkpoint

parser = argparse.ArgumentParser()
parser.add_argument("--epsilon", type=float, default=8)
parser.parse_args()
print("importing")


class Net(nn.Module):
    def __init__(self, before=lambda x: x, after=lambda z: z):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.fc = nn.Conv2d(1, 8, 3, padding=1), nn.Linear(128, 10)
        self.before, self.after = before, after
        digits = load_digits()
        x = torch.tensor(digits.images[:400], dtype=torch.float32)[:, None] / 16
        y = torch.tensor(digits.target[:400])
        with torch.no_grad():  # least squares: a classifier that is mostly right
            h, target = self.pool(x * 2 - 1).double(), torch.nn.functional.one_hot(y).double()
            weight = torch.linalg.solve(h.T @ h + torch.eye(128), h.T @ target).T
            self.fc.weight.copy_(10 * weight)
            self.fc.bias.zero_()

    def pool(self, x):
        return torch.nn.functional.avg_pool2d(torch.relu(self.conv(x)), 2).flatten(1)

    def forward(self, x):
        return self.after(self.fc(self.pool(self.before(x))))


def single(x):
    assert len(x) == 1
    return x


def spoken(z):
    print("forward", tuple(z.shape))
    return z


def plain(): return Net(lambda x: x * 2 - 1)
def in_place(): return Net(lambda x: x.mul_(2).sub_(1))
def alone(): return Net(lambda x: single(x) * 2 - 1)
def answer(): return Net(lambda x: x * 2 - 1, lambda z: {"logits": z})
def twelve():
    return Net(lambda x: x * 2 - 1, lambda z: torch.cat([z[:, :4], 9 + z[:, :2], z[:, 4:]], 1))
def rejects():  # where two classes are close
    return Net(lambda x: x * 2 - 1, lambda z: torch.cat([z, z.topk(2, 1).values[:, 1:] + 1], 1))
def prints(): return Net(lambda x: x * 2 - 1, spoken)


class Checkpointed(Net):
    def forward(self, x):
        return checkpoint(super().forward, x, use_reentrant=True)


def checkpointed(): return Checkpointed(lambda x: x * 2 - 1)


def frozen():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.freeze(torch.jit.trace(plain().eval(), torch.rand(2, 1, 8, 8)))


def quantised():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantize = torch.ao.quantization.quantize_dynamic
        return quantize(plain().eval(), {nn.Linear}, dtype=torch.qint8)


class Auxiliary(Net):
    def forward(self, x):
        z = super().forward(x)
        return (z, 0 * z) if self.training else z


def auxiliary(): return Auxiliary()


def convolutions():
    layers = nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 10, 1), nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(*layers, nn.Flatten())


def descriptor():
    os.write(1, b"from descriptor 1\\n")
    os.system("echo from a child process")
    return prints()
"""
ATTACK = (
    "--data",
    "digits",
    "--threat",
    "linf:0.1",
    "--attack",
    "apgd:steps=5",
    "--limit",
    "16",
    "--json",
    "--out",
)
SAME = ("in_place", "alone", "answer", "twelve:outputs=(0-3,6-11)", "checkpointed", "frozen")


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_habits_change_no_verdict(cli, private, tmp_path):
    """Every sample's clean and worst margin is the plain network's; oddities are flags."""
    folder = private("habits", SOURCE)
    done = cli(
        "attack",
        *(f"habits:{name}" for name in ("plain", *SAME)),
        *ATTACK,
        tmp_path / "S",
        cwd=folder,
    )
    assert done.code == 0, done.err
    rows = done.json["rows"]
    columns = ["sample_id", "clean_correct", "adversarial", "clean_margin", "adv_margin"]
    first, *others = (
        pq.read_table(
            tmp_path / "S" / "results" / "samples" / f"{row['run_id']}.parquet", columns=columns
        ).to_pylist()
        for row in rows
    )
    assert sum(row["adversarial"] for row in first) > 0
    for name, samples in zip(SAME, others, strict=True):
        for found, expected in zip(samples, first, strict=True):
            assert found == pytest.approx(expected, abs=1e-4), name
    told = [[flag["name"] for flag in row["flags"]] for row in rows]
    assert [("interface" in names) for names in told] == [
        False,
        False,
        True,
        False,
        True,
        False,
        False,
    ]
    assert not any("no-gradient" in names for names in told)


@pytest.mark.filterwarnings("ignore:quantized..linear_dynamic")
def test_a_quantised_model_has_no_gradient_and_is_attacked_by_scores(cli, private, tmp_path):
    """Its clean accuracy is about that of the plain network; square finds what gradients cannot."""
    folder = private("habits", SOURCE)
    done = cli(
        "attack",
        "habits:quantised",
        *ATTACK[:5],
        "square:steps=30",
        *ATTACK[6:],
        tmp_path / "S",
        cwd=folder,
    )
    assert done.code == 0, done.err
    assert "no-gradient" in [flag["name"] for flag in done.json["rows"][0]["flags"]]
    assert "add hopskipjump or transfer" in done.err  # square is what was run
    done = cli(
        "attack",
        "habits:quantised",
        *ATTACK[:5],
        "pgd:steps=2",
        *ATTACK[6:],
        tmp_path / "S",
        cwd=folder,
    )
    assert done.code == 2
    assert "pgd:steps=2 needs gradients: attacks that work on it in linf are square" in done.err


def test_rejections_are_neither_right_nor_successes(cli, private, tmp_path):
    """Rejecting where classes are close makes clean inputs wrong, and no success."""
    folder = private("habits", SOURCE)
    done = cli("attack", "habits:plain", "habits:rejects", *ATTACK, tmp_path / "S", cwd=folder)
    assert done.code == 0, done.err
    plain, rejects = (
        pq.read_table(
            tmp_path / "S" / "results" / "samples" / f"{row['run_id']}.parquet"
        ).to_pylist()
        for row in done.json["rows"]
    )
    for found, expected in zip(rejects, plain, strict=True):
        rejected = found["clean_margin"] is None or math.isnan(found["clean_margin"])
        assert found["clean_correct"] == (expected["clean_correct"] and not rejected)
        assert not (found["clean_correct"] and found["adversarial"] and not expected["adversarial"])
        if found["clean_correct"] and found["adversarial"]:
            assert found["adv_margin"] <= -1
    names = [flag["name"] for flag in done.json["rows"][1]["flags"]]
    assert "rejected" in names
    assert "non-finite" not in names


@pytest.mark.parametrize("factory", ["auxiliary", "convolutions"])
def test_training_needs_neither_features_nor_a_single_output(cli, private, tmp_path, factory):
    """Auxiliary training outputs are left out; a network without nn.Linear is explained."""
    folder = private("habits", SOURCE)
    out = tmp_path / "S"
    words = (
        "--limit",
        "64",
        "--epochs",
        "1",
        "--inner",
        "fgsm",
        "--threat",
        "linf:0.1",
        "--name",
        "m",
        "--out",
        out,
    )
    done = cli("train", "--model", f"habits:{factory}", *words, cwd=folder)
    assert done.code == 0, done.err
    done = cli(
        "attack",
        "m",
        "--attack",
        "fgsm",
        "--limit",
        "16",
        "--measure",
        "--json",
        "--trust-code",
        "--out",
        out,
        cwd=folder,
    )
    assert done.code == 0, done.err
    reasons = [row for row in done.json["measures"] if "no nn.Linear" in json.dumps(row)]
    assert bool(reasons) == (factory == "convolutions")


def test_untrained_models_are_told(cli, tmp_path):
    """An architecture by its bare name has random weights: at chance, in flags and stderr."""
    done = cli("attack", "mlp:width=8", *ATTACK, tmp_path / "S")
    assert done.code == 0, done.err
    assert {"untrained", "at-chance"} <= {flag["name"] for flag in done.json["rows"][0]["flags"]}
    assert "weights of mlp:width=8 are random" in done.err
    assert "clean accuracy" in done.err


def test_prints_go_to_stderr(spawn, private, tmp_path):
    """Whatever a model prints, at import, from C code or a child: stdout has the result."""
    folder = private("habits", SOURCE)
    done = spawn("attack", "habits:descriptor", *ATTACK, tmp_path / "S", cwd=folder)
    assert done.code == 0, done.err
    assert done.json["schema"] == "robbench.attack/1"
    for words in ("importing", "forward (", "from descriptor 1", "from a child process"):
        assert words in done.err
