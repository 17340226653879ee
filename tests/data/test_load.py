"""Data specs: subsets, limits, folders, and errors that say what to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from robbench.core.errors import RobbenchError, RunError, UserError
from robbench.data import load as load_module
from robbench.data.base import Data, Table, class_difference
from robbench.data.data_folder import data_folder
from robbench.data.load import default_threat, load
from robbench.data.subset import few_classes, select, split_subsets


def test_digits_are_scikit_learns() -> None:
    """The embedded digits equal sklearn.datasets.load_digits, split after row 1,200."""
    reference = load_digits()
    train, test = load("digits", "train"), load("digits", "test")
    assert (len(train), len(test), train.scale) == (1200, 597, 16)
    images = torch.cat([train.images, test.images])[:, 0]
    assert np.array_equal(images.numpy(), reference.images)
    assert np.array_equal(torch.cat([train.labels, test.labels]), reference.target)
    assert train.pixels(slice(None)).max() == 1


def test_class_subset_renumbers_in_the_order_written() -> None:
    """digits[8,3] holds exactly the 8s as class 0 and the 3s as class 1, in file order."""
    whole, pair = load("digits", "test"), load("digits[8,3]", "test")
    kept = (whole.labels == 8) | (whole.labels == 3)
    assert pair.classes == ("8", "3")
    assert torch.equal(pair.images, whole.images[kept])
    assert torch.equal(pair.labels, (whole.labels[kept] == 3).long())


def test_subsets_chain_from_left_to_right() -> None:
    """[3,8][first=20] takes 20 of the pair, [first=20][3,8] the pair among the first 20."""
    assert len(load("digits[3,8][first=20]", "train")) == 20
    whole = load("digits", "train", limit=20)
    assert len(load("digits[first=20][3,8]", "train")) == int(
        ((whole.labels == 3) | (whole.labels == 8)).sum()
    )


@pytest.mark.parametrize("limit", [7, "7", "first=7"])
def test_a_limit_is_first(limit: int | str) -> None:
    """limit=7 gives the same samples as [first=7], whichever way it is written."""
    assert torch.equal(load("digits", "test", limit=limit).ids, load("digits[first=7]", "test").ids)


def test_a_stratified_limit_is_a_stratified_subset() -> None:
    """limit='stratified=30' gives three samples of every digit."""
    assert torch.bincount(load("digits", "test", limit="stratified=30").labels).tolist() == [3] * 10


@settings(max_examples=60, deadline=None)
@given(labels=st.lists(st.integers(0, 4), min_size=2, max_size=60), n=st.integers(1, 40))
def test_stratified_prefixes_are_nested_and_even(labels: list[int], n: int) -> None:
    """[stratified=n] is a prefix of [stratified=n+1], even unless a class is exhausted, in file order within a class."""
    table = np.array(labels, np.int64)
    classes = tuple("abcde")
    smaller, larger = (select([f"stratified={count}"], table, classes).rows for count in (n, n + 1))
    assert len(smaller) == min(n, len(labels))
    assert np.array_equal(larger[: len(smaller)], smaller)
    available, taken = np.bincount(table, minlength=5), np.bincount(table[smaller], minlength=5)
    open_classes = taken < available
    if open_classes.any():
        assert taken.max() - taken[open_classes].min() <= 1
    for label in range(5):
        assert np.array_equal(
            smaller[table[smaller] == label], np.flatnonzero(table == label)[: taken[label]]
        )


def test_sample_ids_do_not_depend_on_the_limit() -> None:
    """A sample keeps its id under a limit, and a fingerprint tells sets apart but not orders."""
    few, many = load("digits", "test", limit=50), load("digits", "test", limit=100)
    assert torch.equal(few.ids, many.ids[:50])
    assert few.fingerprint() != many.fingerprint()
    assert many.take(torch.randperm(100)).fingerprint() == many.fingerprint()


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
            "options follow a comma: write some/dir,size=... instead of some/dir:size=...",
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


def test_a_class_subset_without_samples_is_an_error() -> None:
    """A subset that selects nothing is refused rather than passed on as an empty split."""
    with pytest.raises(UserError, match=r"\[b,c\] selects nothing"):
        select(["b,c"], np.zeros(4, np.int64), ("a", "b", "c"))


def test_an_index_names_a_class_unless_names_are_numbers() -> None:
    """[7,0] means the classes at these places, but where names are numbers it means the names."""
    assert select(["1,0"], np.array([0, 1]), ("cat", "dog")).classes == ("dog", "cat")
    assert select(["7,3"], np.array([0, 1]), ("3", "7")).classes == ("7", "3")


def test_brackets_inside_a_folder_name_stay_in_it() -> None:
    """Only brackets at the end are subsets."""
    assert split_subsets("folder:a[1]b/c[x,y][first=3]") == ("folder:a[1]b/c", ["x,y", "first=3"])


def test_unknown_split() -> None:
    """A split that is neither train nor test is refused by name."""
    with pytest.raises(UserError, match="no split 'valid'"):
        load("digits", "valid")


@pytest.mark.parametrize(
    ("subsets", "said"),
    [
        (
            ["first=3"],
            "all 3 samples are of one class (a), the data have 3; the limit stratified=3 takes of every class",
        ),
        (
            ["first=4"],
            "all 4 samples are of 2 classes, the data have 3; the limit stratified=4 takes of every class",
        ),
        (["first=7"], None),
        (["first=1"], None),
        (["stratified=2"], None),
        (
            ["b,c", "first=2"],
            "all 2 samples are of one class (b), the data have 2; the limit stratified=2 takes of every class",
        ),
        (["a,b"], None),
        ([], None),
    ],
)
def test_a_limit_that_misses_classes_is_told(subsets: list[str], said: str | None) -> None:
    """First samples of fewer classes than as many stratified ones would be of are told; what cannot be better is not."""
    labels = np.array([0, 0, 0, 1, 1, 1, 2])
    assert few_classes(subsets, labels, ("a", "b", "c", "never there")) == ([said] if said else [])


@pytest.mark.parametrize(("labels", "told"), [
    (np.repeat([0, 1, 2, 0, 1, 2], 50), True),  # two files, each in the order of its classes
    (np.random.default_rng(0).permutation(np.repeat([0, 1, 2], 100)), False),
])  # fmt: skip
def test_what_chance_leaves_out_is_not_told(labels: NDArray[np.int64], told: bool) -> None:
    """The first two samples of shuffled data may well be of one class: nobody would learn anything from that."""
    first = int(np.flatnonzero(labels[1:] == labels[:-1])[0])
    labels = np.roll(labels, -first)
    assert bool(few_classes(["first=2"], labels, ("a", "b", "c"))) == told


def test_a_data_folder_of_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """`~` of a user who does not exist is an error of one line, given or in the environment."""
    monkeypatch.setenv("ROBBENCH_DATA_DIR", "~nobody-of-this-name/data")
    for explicit in (None, Path("~nobody-of-this-name/data")):
        with pytest.raises(UserError, match="no such home folder"):
            data_folder(explicit)


def test_class_lists_are_compared_by_their_first_difference() -> None:
    """The index, both names and, where they differ, both lengths; a changed order is said."""
    where = ("model m", "data 'd'")
    assert (
        class_difference(["a", "nine"], ["a", "Nine"], where)
        == "class 1 is 'nine' in model m and 'Nine' in data 'd'"
    )
    assert class_difference(["a"], ["a", "b"], where) == (
        "model m has 1 classes, data 'd' 2; class 1 is none in model m and 'b' in data 'd'"
    )
    assert class_difference(["1", "10", "2"], ["1", "2", "10"], where) == (
        "class 1 is '10' in model m and '2' in data 'd', and 1 more differ; the names are the same, their order is not"
    )


def test_default_threats() -> None:
    """Every built-in set has the threat model of its field; subsets do not change it; folders have none."""
    assert default_threat("digits") == "linf:0.15"
    assert default_threat("mnist[3,8][first=50]") == default_threat("fashion-mnist") == "linf:0.3"
    assert {default_threat(name) for name in ("cifar10", "cifar100", "svhn")} == {"linf:8/255"}
    assert default_threat("parquet:some/dir") is None
    assert default_threat("mnist10k") is None


def test_data_folder_precedence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An explicit folder wins over ROBBENCH_DATA_DIR, which wins over the user's cache."""
    monkeypatch.setenv("ROBBENCH_DATA_DIR", str(tmp_path / "named"))
    assert data_folder(tmp_path) == tmp_path
    assert data_folder(None) == tmp_path / "named"
    monkeypatch.delenv("ROBBENCH_DATA_DIR")
    assert data_folder(None).parts[-2:] == ("robbench", "data")


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
    """NaN, infinity, a wrong range, rank or type, or no rows at all: one UserError that begins with the data's name."""
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
