"""`module:name` as data: a function, samples at hand, a Dataset; the split it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from robbench.core.errors import UserError
from robbench.data.load import default_threat, load
from robbench.data.private import private_factory

SOURCE = '''
import numpy as np
import torch
from torch.utils.data import Dataset, TensorDataset
from robbench.data.base import Split, Table
from os import getcwd

X = torch.linspace(0, 1, 6 * 4).reshape(6, 4)
Y = torch.tensor([0, 1, 2, 0, 1, 2])
ds = TensorDataset(X, Y)
pair = (X, Y, ["a", "b", "c"])
number = 7

def make(count=6, split="test"):
    """Arrays of the split."""
    return (X[:count] if split == "test" else 1 - X), (Y[:count] if split == "test" else Y)

def same(scale: float = 1.0):
    return TensorDataset(X * scale, Y)

def table(split):
    return Table(Y.numpy(), ("a", "b", "c"), lambda rows: X.numpy()[rows], free=np.arange(4) > 0)

def split(split):
    ids = torch.arange(6) + 10
    read = {"group": {int(i): f"g{i}" for i in ids}}.__getitem__
    return Split(X, Y, ids, ("a", "b", "c"), "mine", split, columns=read)

def broken():
    raise ValueError("no\\nway")

def other():
    return {"x": X}

def endless():
    return X, Y + 10**9

def nameless():
    return X, Y, None

class Torn(Dataset):
    def __len__(self):
        return 9
    def __getitem__(self, i):
        return X[i], int(Y[i])

class Ended(Torn):
    def __getitem__(self, i):
        raise SystemExit(0)

class Own(Dataset):
    classes = ["a", "b", "c"]
    def __init__(self, split, flip=False):
        self.x = 1 - X if flip else X
    def __len__(self):
        return 6
    def __getitem__(self, i):
        return self.x[i], int(Y[i])
'''
X = torch.linspace(0, 1, 6 * 4).reshape(6, 4)


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Loads `NAME` of a module in the working folder."""
    (tmp_path / "my_samples.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "my_samples", raising=False)
    return lambda name, split="test": load(f"my_samples:{name}", split)


@pytest.mark.parametrize("name", ["ds", "pair", "make", "same", "table", "Own"])
def test_every_form_gives_the_same_samples(name: str, mine: Callable[..., Any]) -> None:
    """A Dataset, pairs, functions and classes that return one: ids do not depend on the form."""
    found, plain = mine(name), mine("ds")
    assert torch.equal(found.ids, plain.ids)
    assert torch.equal(found.pixels(slice(None)), X)
    assert found.classes == (
        ("a", "b", "c") if name in ("pair", "table", "Own") else ("0", "1", "2")
    )
    assert (found.fixed() is not None) == (name == "table")


def test_a_split_keeps_its_columns(mine: Callable[..., Any]) -> None:
    """They follow the samples, whose ids are those of their bytes."""
    found = mine("split[stratified=3]")
    assert found.columns is not None
    group = found.columns("group")
    rows = [int((x == X).all(1).nonzero()) for x in found.images]
    assert [group[i] for i in found.ids.tolist()] == [f"g{10 + row}" for row in rows]


def test_options_and_the_split_reach_the_function(mine: Callable[..., Any]) -> None:
    """Options are JSON; a function without `split` gives the same for all, which a note says."""
    assert len(mine("make:count=3")) == 3
    assert torch.equal(mine("make", "train").images, 1 - X)
    assert torch.equal(mine("Own:flip=true").images, 1 - X)
    assert torch.equal(mine("same:scale=0.5", "train").images, X / 2)
    assert mine("make").notes == ()
    assert mine("same:scale=0.5").notes == (
        "my_samples:same does not take `split`: every split is the same 6 samples",
    )
    assert len(mine("make[stratified=2]")) == 2


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("number", "neither samples nor a function"),
        ("getcwd", "neither samples nor a function"),
        ("broken", "its function raised ValueError: no"),
        ("other", "gives dict; it should give a torch Dataset"),
        ("endless", "label 1000000002 is no class number"),
        ("nameless", "gives class names of type NoneType"),
        ("Torn", "its samples raised IndexError"),
        ("Ended", "ended the program (SystemExit 0)"),
        ("make:cout=3", "unknown option 'cout'"),
        ("same:scale=2", "features range from 0 to 2"),
        ("ds:a=1", "is no function, so it has no options"),
        ("make:3", "'3' is not key=value"),
        ("gone", "has no 'gone'"),
    ],
)
def test_what_gives_no_samples_is_refused(name: str, text: str, mine: Callable[..., Any]) -> None:
    """One line that says what is wrong."""
    with pytest.raises(UserError) as caught:
        mine(name)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_registered_names_are_no_modules(mine: Callable[..., Any]) -> None:
    """Neither is a class of Data: the registry builds both."""
    assert private_factory("folder:photos") is None
    assert private_factory("digits") is None
    assert private_factory("robbench.data.digits:Digits") is None
    assert private_factory("my_samples:make") is not None
    assert default_threat("my_samples:make") is None
    assert default_threat("robbench.data.digits:Digits") == "linf:0.15"


DATA = """
from torch.utils.data import TensorDataset
from extra import FLIP
import torch
def make(split):
    g = torch.Generator().manual_seed(int(split == "train"))
    y = torch.arange(40) % 2
    x = torch.rand(40, 6, generator=g) * 0.3 + 0.7 * y[:, None]
    return TensorDataset(1 - x if FLIP else x, y)
"""


def test_a_function_of_data_works_everywhere(
    cli: Callable[..., Any], private: Callable[..., Path]
) -> None:
    """Training, an attack, a second time from the store, a check; its code is part of the run."""
    folder = private("mine", DATA)
    private("extra", "FLIP = False\n")
    train = "train --data mine:make --model mlp:width=8,depth=1 --epochs 2 --threat linf:0.1"
    done = cli(f"{train} --inner none --name m --out o", cwd=folder)
    assert done.code == 0, done.err
    attack = "attack m --data mine:make --threat linf:0.1 --attack fgsm --json --out o"
    first, again = cli(attack, cwd=folder), cli(attack, cwd=folder)
    assert first.code == again.code == 0, first.err
    run = first.json["rows"][0]
    assert again.json["rows"][0]["run_id"] == run["run_id"]
    refused = cli("check", run["run_id"], "--out", "o", cwd=folder)
    assert refused.code == 2
    assert "--trust-code" in refused.err
    assert cli("check", run["run_id"], "--out", "o", "--trust-code", cwd=folder).code in (0, 1)
    private("extra", "FLIP = 0\n")
    assert cli(attack, cwd=folder).json["rows"][0]["run_id"] != run["run_id"]
