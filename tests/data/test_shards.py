"""Which Parquet files make up a split."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from robbench.core.errors import UserError
from robbench.data.load import load

Png = Callable[[np.ndarray], bytes]


Write = Callable[..., None]


RANDOM = np.random.default_rng(0)


COLOUR = RANDOM.integers(0, 256, (8, 5, 6, 3), dtype=np.uint8)


LABELS = [0, 2, 1, 2, 0, 1, 1, 0]


@pytest.mark.parametrize(
    "file",
    [
        "test.parquet",
        "test/part.parquet",
        "data/test-00000-of-00001.parquet",
        "plain/test-0.parquet",
    ],
)
def test_layouts(file: str, tmp_path: Path, png: Png, write_parquet: Write) -> None:
    """Files beside, in the split's folder, or in a Hugging Face inner folder are found."""
    write_parquet(tmp_path / "set" / file, [png(COLOUR[0]), png(COLOUR[1])], [0, 1])
    assert len(load("parquet:set", "test", data_dir=tmp_path)) == 2


def test_two_configurations_are_ambiguous(tmp_path: Path, png: Png, write_parquet: Write) -> None:
    """Two inner folders that both hold the split are an error naming both."""
    for name in ("cropped", "full"):
        write_parquet(tmp_path / "set" / name / "test-0.parquet", [png(COLOUR[0])], [0])
    with pytest.raises(UserError, match="cropped, full"):
        load("set", "test", data_dir=tmp_path)


def _error(spec: str, folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        load(spec, "test", data_dir=folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_split_is_named_whole(tmp_path: Path, png: Png, write_parquet: Write) -> None:
    """The split testmini is no part of test, nor train_small of train; shards are."""
    cells = [png(x) for x in COLOUR]
    for name in (
        "test-00000-of-00001",
        "testmini-00000-of-00001",
        "test_small",
        "tests",
        "train1",
        "train2",
    ):
        write_parquet(tmp_path / f"set/{name}.parquet", cells, LABELS)
    assert len(load("set", "test", data_dir=tmp_path)) == 8
    assert len(load("set", "train", data_dir=tmp_path)) == 16
    assert (
        len(load("set", "testmini", data_dir=tmp_path))
        == len(load("set", "test_small", data_dir=tmp_path))
        == 8
    )
    with pytest.raises(
        UserError,
        match=(
            r"no Parquet files of the split 'validation'.*test, test_small, testmini, tests, "
            r"train;"
        ),
    ):
        load("set", "validation", data_dir=tmp_path)


@pytest.mark.parametrize(
    "second", ["test-00000-of-00001.parquet", "test.parquet", "test-0.parquet"]
)
def test_a_split_that_is_there_twice(
    second: str, tmp_path: Path, png: Png, write_parquet: Write
) -> None:
    """Shards of two countings, or shards beside a whole file, are an error that names them."""
    for name in ("test-00000-of-00002.parquet", "test-00001-of-00002.parquet", second):
        write_parquet(tmp_path / "set" / name, [png(COLOUR[0])], [0])
    assert "is there twice" in _error("set", tmp_path)
    assert second in _error("set", tmp_path)


def test_shards_that_are_missing_are_told(tmp_path: Path, png: Png, write_parquet: Write) -> None:
    """Two of three files are read, and it is said."""
    for shard in (0, 2):
        write_parquet(
            tmp_path / f"set/test-0000{shard}-of-00003.parquet", [png(COLOUR[shard])], [shard]
        )
    split = load("set", "test", data_dir=tmp_path)
    assert split.labels.tolist() == [0, 2]
    assert any("only 2 of the 3 files" in note for note in split.notes)


def test_pipes_are_not_opened(tmp_path: Path) -> None:
    """A FIFO with the name of a Parquet file is passed over."""
    (tmp_path / "set").mkdir()
    os.mkfifo(tmp_path / "set/test.parquet")
    assert "no Parquet files" in _error("parquet:set", tmp_path)
