"""Data specs: subsets, limits, folders, and errors that say what to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from robbench.core.errors import RobbenchError, RunError, UserError
from robbench.data import load as load_module
from robbench.data.base import Data, Table
from robbench.data.load import default_threat, load


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("digitz", "did you mean digits"),
        ("digits[3,11]", "unknown class '11'"),
        ("digits[3,3]", "twice"),
        ("digits[3]", "one class"),
        ("digits[first=0]", "at least 1"),
        ("digits[first=ten]", "at least 1"),
        ("digits[frist=3]", "malformed subset"),
        ("digits[3,8", "brackets do not match"),
        ("digits[3,8][first=1][0,1]", "unknown class '0'"),
        ("digits:size=3", "unknown option 'size'"),
        (
            "folder:some/dir:size=32",
            "write folder:some/dir,size=... instead of folder:some/dir:size=...",
        ),
        ("folder:" + "a" * 5000, "cannot be a folder's name"),
        ("folder:~nobody-of-this-name/x", "cannot be a folder's name"),
        ("parquet", "dir must be given"),
        ("parquet:nowhere", "no folder"),
        ("folder:nowhere", "no folder"),
    ],
)
def test_wrong_specs_are_one_clear_line(spec: str, words: str, tmp_path: Path) -> None:
    """Each wrong spec is a one-line UserError that names the fault."""
    with pytest.raises(UserError) as caught:
        load(spec, "train", data_dir=tmp_path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("file", "form"), [("test/cat/1.png", "folder:mine"), ("test.parquet", "parquet:mine")]
)
def test_a_folder_by_its_bare_name(
    file: str, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder in the working folder that is in no data folder: the message has the right form."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine" / file
    path.parent.mkdir(parents=True)
    path.touch()
    with pytest.raises(UserError, match=f"unknown data set 'mine'; .* write {form}$"):
        load("mine", "test", data_dir=tmp_path / "data")


@pytest.mark.parametrize(
    ("file", "form"),
    [
        ("a.npz", "npz:a.npz"),
        ("a.npy", "npy:a.npy,labels=FILE"),
        ("a.csv", "csv:a.csv,label=COLUMN"),
    ],
)
def test_a_file_by_its_bare_name(
    file: str, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of arrays or a table: the message has the right form."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / file).touch()
    with pytest.raises(UserError, match=f"unknown data set '{file}'; .* write {form}$"):
        load(file, "test", data_dir=tmp_path / "data")


def test_unknown_split() -> None:
    """A split that is neither train nor test is refused by name."""
    with pytest.raises(UserError, match="no split 'valid'"):
        load("digits", "valid")


def test_default_threats() -> None:
    """Every built-in set has its field's threat model, subsets included; folders have none."""
    assert default_threat("digits") == "linf:0.15"
    assert default_threat("mnist[3,8][first=50]") == default_threat("fashion-mnist") == "linf:0.3"
    assert {default_threat(name) for name in ("cifar10", "cifar100", "svhn")} == {"linf:8/255"}
    assert default_threat("parquet:some/dir") is None
    assert default_threat("mnist10k") is None


@dataclass(frozen=True, kw_only=True)
class _Plugin(Data):
    images: ClassVar[np.ndarray]

    def open(self, split: str, data_dir: Path | None, download: bool) -> Table:
        return Table(np.arange(len(self.images)) % 2, ("a", "b"), lambda rows: self.images[rows])


def _load_plugin(monkeypatch: pytest.MonkeyPatch, images: np.ndarray) -> torch.Tensor:
    monkeypatch.setattr(_Plugin, "images", images, raising=False)
    monkeypatch.setattr(load_module, "find_source", lambda base, folder: _Plugin())
    return load("plug-in", "test").images


def test_float_images_of_a_plug_in_pass_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Float64 vectors in [0,1] arrive as float32 of the same values."""
    images = np.linspace(0, 1, 12).reshape(4, 3)
    loaded = _load_plugin(monkeypatch, images)
    assert loaded.dtype == torch.float32
    assert np.array_equal(loaded, images.astype(np.float32))


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.array([[0.1, 0.2], [0.3, np.nan]]), "image 1 contains NaN or infinity"),
        (np.array([[0.1, np.inf]]), "image 0 contains NaN or infinity"),
        (np.array([[0.0, 255.0]]), "0 to 255"),
        (np.array([[-0.5, 0.5]]), "-0.5 to 0.5"),
        (np.zeros((2, 3, 4)), "shape"),
        (np.zeros((2, 3), np.int32), "int32"),
        (np.zeros((0, 3)), "no samples"),
    ],
)
def test_bad_images_of_a_plug_in(
    monkeypatch: pytest.MonkeyPatch, images: np.ndarray, words: str
) -> None:
    """NaN, infinity, wrong range, rank or type, no rows: one UserError with the data's name."""
    with pytest.raises(UserError, match="plug-in, test split") as caught:
        _load_plugin(monkeypatch, images)
    assert words in str(caught.value)


def test_a_plug_in_that_raises_is_a_run_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception inside a plug-in's own code is a RunError that quotes it, not a traceback."""

    def fail(self: Data, split: str, data_dir: Path | None, download: bool) -> Table:
        raise ZeroDivisionError("inside")

    monkeypatch.setattr(_Plugin, "open", fail)
    monkeypatch.setattr(load_module, "find_source", lambda base, folder: _Plugin())
    with pytest.raises(RunError, match="ZeroDivisionError: inside") as caught:
        load("plug-in", "test")
    assert isinstance(caught.value, RobbenchError)


def test_a_plug_in_that_gives_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told what to return."""
    monkeypatch.setattr(_Plugin, "open", lambda *_: None)
    monkeypatch.setattr(load_module, "find_source", lambda base, folder: _Plugin())
    with pytest.raises(UserError, match=r"plug-in, test split: its open returned NoneType, not"):
        load("plug-in", "test")


def test_a_set_of_the_data_folder_is_named_once(tmp_path: Path) -> None:
    """Though a registered data set has its name."""
    (tmp_path / "cifar10").mkdir()
    (tmp_path / "cifar10" / "train.parquet").touch()
    with pytest.raises(UserError) as caught:
        load("zzzzzz", "test", data_dir=tmp_path)
    assert str(caught.value).count("cifar10,") == 1
