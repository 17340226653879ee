"""The data's classes are found among a saved model's by name; numbers only of its own data."""

from __future__ import annotations

import dataclasses

import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from robbench.core.errors import UserError
from robbench.data.load import load
from robbench.tasks.saved_classes import fit_classes

KNOWN = ["cat", "sea dog", "eel", "fox"]
NAMES = "model m", "data 'd'"


def split_of(*classes, whole=None):
    split = load("digits[0,1]", "test", limit=8)
    return dataclasses.replace(split, classes=classes, whole=tuple(whole or classes))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 4)).eval()


def test_equal_classes_leave_the_model_as_it_is(model):
    assert fit_classes(model, KNOWN, split_of(*KNOWN), NAMES) == (model, [])


def test_another_spelling_is_told(model):
    found, flags = fit_classes(model, KNOWN, split_of("cat", "Sea_Dog", "eel", "fox"), NAMES)
    assert found is model
    assert [flag.name for flag in flags] == ["interface"]
    assert "'sea dog' in model m and 'Sea_Dog' in data 'd'" in flags[0].text


@pytest.mark.parametrize(
    ("classes", "outputs"),
    [(("fox", "cat"), [3, 0]), (("fox", "eel", "Sea Dog", "cat"), [3, 2, 1, 0])],
)
def test_some_classes_and_another_order(model, classes, outputs):
    split = split_of(*classes)
    x = split.pixels(slice(None))
    found, _ = fit_classes(model, KNOWN, split, NAMES)
    assert torch.equal(found(x), model(x)[:, outputs])
    assert "by name" in found.notes[0]


@pytest.mark.parametrize(
    ("known", "split", "text"),
    [
        (KNOWN, split_of("fox", "cow"), "trained on other classes: .*class 0 is 'cat'"),
        (["0", "1", "2"], split_of("0", "1"), "has 3 classes, data 'd' 2"),
        (["cat", "Cat"], split_of("CAT", "dog"), "trained on other classes"),
    ],
    ids=["unknown", "numbers of other data", "ambiguous"],
)
def test_what_is_not_certain_is_refused(model, known, split, text):
    with pytest.raises(UserError, match=text):
        fit_classes(model, known, split, NAMES)


def test_numbers_of_the_same_data_are_a_subset(model):
    split = split_of("3", "1", whole=["0", "1", "2", "3"])
    x = split.pixels(slice(None))
    assert torch.equal(
        fit_classes(model, ["0", "1", "2", "3"], split, NAMES)[0](x), model(x)[:, [3, 1]]
    )


def test_under_the_command(cli, tmp_path):
    """Trained on all digits, attacked on two: as the wider model without the other outputs."""
    words = f"--out {tmp_path / 'S'} --json"
    done = cli(f"train --data digits --limit 200 --epochs 1 --model mlp:depth=0 --name all {words}")
    assert done.code == 0, done.err
    attack = f"attack all --attack fgsm --threat linf:0.05 --limit 20 --store-points {words}"
    rows = []
    for data in ("digits[3,8]", "digits[8,3]"):
        done = cli(f"{attack} --data {data}")
        assert done.code == 0, done.err
        (row,) = done.json["rows"]
        path = tmp_path / "S" / "results" / "samples" / f"{row['run_id']}.parquet"
        rows.append(pq.read_table(path, columns=["clean_margin", "adv_margin"]).to_pylist())
        assert row["model_outputs"].startswith("2 of 10 outputs by name")
        for after in ("check", "measure", "report"):
            done = cli(f"{after} {row['run_id']} --out {tmp_path / 'S'}", cwd=tmp_path)
            assert done.code == 0, (after, done.err)
    assert rows[0] == rows[1]
