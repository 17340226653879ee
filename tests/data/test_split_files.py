"""Which file holds a split: a name with {split} in it, a folder, or one file for all."""

from __future__ import annotations

from pathlib import Path

import pytest

from robbench.core.errors import UserError
from robbench.data.split_files import find_files


def test_files_of_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By name in the working folder, else in the data folder; a folder has one for each split."""
    monkeypatch.chdir(tmp_path)
    here, data = tmp_path / "here", tmp_path / "data"
    for folder, names in ((here, ["train.npz", "test.npz"]), (data, ["a-val.npz", "all.npz"])):
        folder.mkdir()
        for name in names:
            (folder / name).touch()
    found = find_files("here", "test", ".npz", data)
    assert found.path == Path("here/test.npz")
    assert found.training == Path("here/train.npz")
    assert found.others == [Path("here/train.npz")]
    assert find_files("here/{split}.npz", "test", ".npz", data) == found
    alone = find_files("a-{split}.npz", "val", ".npz", data)
    assert alone.path == alone.training == data / "a-val.npz"
    whole = find_files("all.npz", "train", ".npz", data)
    assert (whole.path, whole.training, whole.splits) == (data / "all.npz", data / "all.npz", {})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("none.npz", "no file"),
        ("here", "there are the splits train"),
        ("here/{split}.npz", "there are the splits train"),
        ("here/{split}.npy", "test.npy"),
        ("x" * 400, "cannot be a file's name"),
        ("~nobody-here/x.npz", "cannot be a file's name"),
    ],
)
def test_what_is_not_there(
    name: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line with the names that were looked for, or the splits that are there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "train.npz").touch()
    with pytest.raises(UserError) as caught:
        find_files(name, "test", ".npz", tmp_path / "data")
    assert text in str(caught.value)
