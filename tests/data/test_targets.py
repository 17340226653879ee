"""The class that each sample has to reach: named, drawn, read from a column, or refused."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from robbench.core.errors import UserError
from robbench.data.base import Split
from robbench.data.load import load
from robbench.data.targets import aim

CLASSES = ("cat", "dog", "emu", "fox")


def _split(n: int = 400, columns: dict[str, list[Any]] | None = None) -> Split:
    read: Callable[[str], dict[int, Any]] | None = None
    if columns is not None:
        read = lambda name: dict(enumerate(columns[name]))  # noqa: E731
    return Split(
        torch.rand(n, 3),
        torch.arange(n) % len(CLASSES),
        torch.arange(n),
        CLASSES,
        "toys",
        "test",
        columns=read,
    )


@pytest.mark.parametrize("text", ["emu", "2"])
def test_a_class_is_named_or_numbered_and_its_own_samples_are_left_out(text: str) -> None:
    """The canonical text is the name."""
    found = aim(_split(), text, 0)
    assert (found.target, found.n_left_out) == ("emu", 100)
    targets = found.split.targets
    assert targets is not None
    assert set(targets.tolist()) == {2}
    assert set(found.split.labels.tolist()) == {0, 1, 3}
    assert found.split.ids.tolist() == [i for i in range(400) if i % 4 != 2]


def test_names_that_are_numbers_are_names() -> None:
    """Of classes 3 and 8 there is no class 0, and 8 is the second."""
    pair = dataclasses.replace(_split(), classes=("3", "8"), labels=torch.arange(400) % 2)
    assert set(aim(pair, "8", 0).split.labels.tolist()) == {0}
    with pytest.raises(UserError, match=r"target 0 is no class of the data: there are 3, 8"):
        aim(pair, "0", 0)


def test_random_targets_are_even_never_the_label_and_each_sample_s_own() -> None:
    """A function of seed and sample id, whatever other samples there are, in any order."""
    split = _split(4000)
    found = aim(split, "random", 7)
    targets = found.split.targets
    assert targets is not None
    assert found.n_left_out == 0
    assert not bool((targets == split.labels).any())
    pairs = Counter(zip(split.labels.tolist(), targets.tolist(), strict=True))
    assert len(pairs) == 12
    assert all(250 < count < 420 for count in pairs.values())  # 333 expected
    some = torch.randperm(4000)[:50]
    again = aim(split.take(some), "random", 7).split.targets
    assert again is not None
    assert torch.equal(again, targets[some])
    other = aim(split, "random", 8).split.targets
    assert other is not None
    assert 0.2 < float((other == targets).double().mean()) < 0.5


def test_a_column_of_names_or_numbers() -> None:
    """Numbers count all classes of the data, also where a subset has chosen some."""
    names = ["dog", "cat", "dog", "cat"] * 2
    found = aim(_split(8, {"to": names}), "column:to", 0)
    assert found.target == "column:to"
    assert found.n_left_out == 0
    assert found.split.targets is not None
    assert found.split.targets.tolist() == [1, 0] * 4
    some = dataclasses.replace(
        _split(4, {"to": [3, 3, 1, 1]}),
        classes=("dog", "fox"),
        whole=CLASSES,
        labels=torch.tensor([0, 0, 1, 0]),
    )
    found = aim(some, "column:to", 0)
    assert found.split.targets is not None
    assert found.split.targets.tolist() == [1, 1, 0]  # the last is a dog already
    assert found.n_left_out == 1


def test_the_least_likely_is_left_to_the_engine() -> None:
    """It takes the model."""
    split = _split()
    assert aim(split, "least-likely", 0) == (split, "least-likely", 0)


@pytest.mark.parametrize(
    ("split", "target", "said"),
    [
        (_split(), "emo", "target 'emo' is no class of the data; did you mean emu"),
        (_split(), "4", "target 4 is out of range: the data has 4 classes, 0 to 3"),
        (_split(), "-1", "target '-1' is no class of the data"),
        (_split(), "9" * 30, "is out of range"),
        (_split(1), "cat", "target cat: all 1 samples are of that class already"),
        (_split(), "column:to", "data 'toys' has no further columns"),
        (_split(2, {"to": ["cow", "cat"]}), "column:to", "column to: target 'cow' is no class"),
        (_split(2, {"to": [4, 1]}), "column:to", "column to: target 4 is out of range"),
        (_split(2, {"to": [-1, 1]}), "column:to", "column to: target '-1' is no class"),
        (_split(2, {"to": [None, 1]}), "column:to", "target column:to holds None"),
        (_split(2, {"to": [True, 1]}), "column:to", "target column:to holds True"),
    ],
)
def test_what_is_no_target_is_refused(split: Split, target: str, said: str) -> None:
    """In one line that names it."""
    with pytest.raises(UserError) as error:
        aim(split, target, 0)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_column_of_parquet_files(
    tmp_path: Path, png: Callable[..., bytes], write_parquet: Callable[..., None]
) -> None:
    """By sample, under subsets and limits; one that is missing or holds no classes is refused."""
    images = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), dtype=np.uint8)
    folder = tmp_path / "set"
    folder.mkdir()
    goals = ["emu", "cat", "cat", "dog", "emu", "dog"]
    table = pa.table(
        {
            "image": [{"bytes": png(x), "path": None} for x in images],
            "label": ["cat", "dog", "emu", "cat", "dog", "emu"],
            "goal": goals,
            "weight": [0.5] * 6,
        }
    )
    pq.write_table(table.slice(0, 4), folder / "test-00000-of-00002.parquet")
    pq.write_table(table.slice(4), folder / "test-00001-of-00002.parquet")
    split = load("set", "test", data_dir=tmp_path)
    names = {
        i: split.classes.index(goal) for i, goal in zip(split.ids.tolist(), goals, strict=True)
    }
    for spec, kept in (("set", 6), ("set[first=5]", 5)):
        found = aim(load(spec, "test", data_dir=tmp_path), "column:goal", 0).split
        assert found.targets is not None
        assert len(found) == kept
        assert found.targets.tolist() == [names[i] for i in found.ids.tolist()]
    for column, said in (("gaol", "did you mean goal"), ("weight", "double"), ("image", "struct")):
        with pytest.raises(UserError, match=said):
            aim(split, f"column:{column}", 0)


def test_a_name_of_two_classes_is_no_target() -> None:
    """As crane is a bird and a machine."""
    split = dataclasses.replace(_split(), classes=("crane", "dog", "crane", "fox"))
    with pytest.raises(UserError, match="'crane' is the name of 2 classes"):
        aim(split, "crane", 0)
    assert aim(split, "2", 0).n_left_out == 100
