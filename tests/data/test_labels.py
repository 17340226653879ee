"""The label column of Parquet files: which one it is, its numbers and names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robbench.core.errors import UserError
from robbench.data.load import load

Png = Callable[[np.ndarray], bytes]


Write = Callable[..., None]


RANDOM = np.random.default_rng(0)


COLOUR = RANDOM.integers(0, 256, (8, 5, 6, 3), dtype=np.uint8)


def _error(spec: str, folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        load(spec, "test", data_dir=folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_labels_out_of_range_or_missing(tmp_path: Path, png: Png, write_parquet: Write) -> None:
    """A label beyond the class names, a negative one and a null are each named."""
    path, images = tmp_path / "set/test.parquet", [png(COLOUR[0]), png(COLOUR[1])]
    write_parquet(path, images, [0, 2], names=["a", "b"])
    assert "label 2 of row 1 is out of range" in _error("set", tmp_path)
    write_parquet(path, images, [-1, -1])
    assert "label -1 of row 0" in _error("set", tmp_path)
    write_parquet(path, images, [0, None])
    assert "1 rows have no label" in _error("set", tmp_path)


def _labelled(path: Path, labels: pa.Array, images: list[bytes], **more: pa.Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": images[: len(labels)], "label": labels, **more}), path)


TEXTS = ["dog", "ant", "bee", "ant", "dog", "bee", "bee", "ant"]


@pytest.mark.parametrize(
    ("labels", "classes", "numbers"),
    [
        (pa.array(TEXTS), ("ant", "bee", "dog"), [2, 0, 1, 0, 2, 1, 1, 0]),
        (pa.array(TEXTS).dictionary_encode(), ("ant", "bee", "dog"), [2, 0, 1, 0, 2, 1, 1, 0]),
        (pa.array(TEXTS, pa.large_string()), ("ant", "bee", "dog"), [2, 0, 1, 0, 2, 1, 1, 0]),
        (
            pa.array(["10", "9", "2", "9", "10", "2", "2", "9"]),
            ("2", "9", "10"),
            [2, 1, 0, 1, 2, 0, 0, 1],
        ),
        (pa.array([True, False] * 4), ("false", "true"), [1, 0] * 4),
        (pa.array([False] * 8), ("false", "true"), [0] * 8),
        (pa.array([1, 2, 3, 1, 2, 3, 3, 3], pa.uint8()), ("1", "2", "3"), [0, 1, 2, 0, 1, 2, 2, 2]),
        (
            pa.array([2, 1, 0, 1, 2, 0, 0, 0], pa.uint64()),
            ("0", "1", "2"),
            [2, 1, 0, 1, 2, 0, 0, 0],
        ),
        (
            pa.array([2, 1, 0, 1, 2, 0, 0, 0]).dictionary_encode(),
            ("0", "1", "2"),
            [2, 1, 0, 1, 2, 0, 0, 0],
        ),
    ],
    ids=[
        "text",
        "category",
        "large-text",
        "numbers-as-text",
        "bool",
        "one-bool",
        "from-one",
        "uint64",
        "number-category",
    ],
)
def test_labels_of_every_type(
    labels: pa.Array, classes: tuple[str, ...], numbers: list[int], tmp_path: Path, png: Png
) -> None:
    """Texts, categories and booleans are classes by name; numbers count from the first."""
    _labelled(tmp_path / "set/test.parquet", labels, [png(x) for x in COLOUR])
    split = load("set", "test", data_dir=tmp_path)
    assert split.classes == classes
    assert split.labels.tolist() == numbers


@pytest.mark.parametrize(
    "labels", [pa.array(["a", None, "b"]), pa.array(["a", None, "b"]).dictionary_encode()]
)
def test_a_text_that_is_null_is_no_label(labels: pa.Array, tmp_path: Path, png: Png) -> None:
    """A null among texts or categories is counted as for numbers."""
    _labelled(tmp_path / "set/test.parquet", labels, [png(x) for x in COLOUR])
    assert "1 rows have no label" in _error("set", tmp_path)


def test_ordered_categories_keep_their_order(tmp_path: Path, png: Png) -> None:
    """low, mid, high stay in order if every file has it, also when a split lacks one."""
    for split, codes in (("train", [2, 0, 1]), ("test", [2, 2, 0])):
        levels = pa.DictionaryArray.from_arrays(
            pa.array(codes, pa.int8()), pa.array(["low", "mid", "high"]), ordered=True
        )
        _labelled(tmp_path / f"set/{split}.parquet", levels, [png(x) for x in COLOUR])
    split = load("set", "test", data_dir=tmp_path)
    assert split.classes == ("low", "mid", "high")
    assert split.labels.tolist() == [2, 2, 0]


def test_classes_of_texts_are_those_of_all_splits(tmp_path: Path, png: Png) -> None:
    """A text that only the training split has keeps its number in the test split."""
    images = [png(x) for x in COLOUR]
    _labelled(tmp_path / "set/train.parquet", pa.array(["a", "b", "c"]), images)
    _labelled(tmp_path / "set/test.parquet", pa.array(["c", "a"]), images)
    split = load("set", "test", data_dir=tmp_path)
    assert (split.classes, split.labels.tolist()) == (("a", "b", "c"), [2, 0])


def test_labels_are_of_one_kind_in_all_splits(tmp_path: Path, png: Png) -> None:
    """Numbers are texts where another split has texts; booleans stand in all or none."""
    images = [png(x) for x in COLOUR]
    _labelled(tmp_path / "set/train.parquet", pa.array(["1", "2", "x"]), images)
    _labelled(tmp_path / "set/test.parquet", pa.array([2, 1]), images)
    split = load("set", "test", data_dir=tmp_path)
    assert (split.classes, split.labels.tolist()) == (("1", "2", "x"), [1, 0])
    for labels in (pa.array([-1, -1]), pa.array([None, None], pa.bool_())):  # it has no labels
        _labelled(tmp_path / "set/test.parquet", labels, images)
        assert load("set", "train", data_dir=tmp_path).classes == ("1", "2", "x")
    for labels in (pa.array(["True", "maybe"]), pa.array([0, 1])):
        _labelled(tmp_path / "set/train.parquet", labels, images)
        _labelled(tmp_path / "set/test.parquet", pa.array([True, False]), images)
        assert "hold bool, in another split" in _error("set", tmp_path)
        assert "write them alike" in _error("set", tmp_path)


def test_labels_that_are_numbers_without_names(tmp_path: Path, png: Png) -> None:
    """Labels from 1 count from 0 by default; sparse ones renumber on demand; absurd ones fail."""
    images, path = [png(x) for x in COLOUR], tmp_path / "set/test.parquet"
    _labelled(path, pa.array([1, 2, 2, 1]), images)
    split = load("set", "test", data_dir=tmp_path)
    assert (split.classes, split.labels.tolist()) == (("1", "2"), [0, 1, 1, 0])
    assert any("labels start at 1" in note for note in split.notes)
    assert load("parquet:set,renumber=false", "test", data_dir=tmp_path).classes == ("0", "1", "2")
    _labelled(path, pa.array([100_000, 100_009, 100_000]), images)
    wide = load("set", "test", data_dir=tmp_path)
    assert (len(wide.classes), wide.labels.tolist()) == (100_010, [100_000, 100_009, 100_000])
    assert any("only 2 of 100,010" in note and "renumber=true" in note for note in wide.notes)
    few = load("parquet:set,renumber=true", "test", data_dir=tmp_path)
    assert (few.classes, few.labels.tolist()) == (("100000", "100009"), [0, 1, 0])
    for largest, kind in ((10**12, pa.int64()), (2**64 - 1, pa.uint64())):
        _labelled(path, pa.array([0, largest], kind), images)
        assert f"label {largest} is no class number" in _error("set", tmp_path)


def test_what_cannot_be_a_label(tmp_path: Path, png: Png) -> None:
    """A label column of fractions is reported by type; two files of one split must agree."""
    images = [png(x) for x in COLOUR]
    _labelled(tmp_path / "set/test.parquet", pa.array([0.0, 1.0]), images)
    assert (
        "column 'label' holds double, which cannot be the label; it should hold whole numbers, "
        "texts" in _error("set", tmp_path)
    )
    _labelled(tmp_path / "two/test-0.parquet", pa.array([0, 1]), images)
    _labelled(tmp_path / "two/test-1.parquet", pa.array(["a", "b"]), images)
    assert (
        "test-1.parquet: column 'label' holds string, in the first file of its split int64"
        in _error("two", tmp_path)
    )
    _labelled(tmp_path / "two/test-1.parquet", pa.array([2, 1], pa.int16()), images)
    assert load("two", "test", data_dir=tmp_path).labels.tolist() == [0, 1, 2, 1]


def test_the_label_column_is_no_numbering_of_something_else(tmp_path: Path, png: Png) -> None:
    """Ids, sizes and file names are not taken; of two candidates none; a single one, noted."""
    path = tmp_path / "set/test.parquet"
    path.parent.mkdir()
    base = {
        "image": [png(x) for x in COLOUR],
        "patient_id": [0, 0, 1, 1, 2, 2, 3, 3],
        "width": [6] * 8,
        "file": list("abcdefgh"),
    }

    def write(**more: object) -> None:
        pq.write_table(pa.table({**base, **more}), path)

    write()
    assert (
        "has no label column; its columns are image, patient_id, width, file; "
        "one is chosen with label=NAME" in _error("set", tmp_path)
    )
    write(diagnosis=["good", "bad"] * 4)
    split = load("set", "test", data_dir=tmp_path)
    assert (split.classes, split.labels.tolist()) == (("bad", "good"), [1, 0] * 4)
    assert any("column 'diagnosis' is taken as the label" in note for note in split.notes)
    write(diagnosis=["good", "bad"] * 4, site=[1, 1, 2, 2] * 2)
    assert "several label columns: diagnosis, site; choose one with label=NAME" in _error(
        "set", tmp_path
    )
    assert load("parquet:set,label=site", "test", data_dir=tmp_path).classes == ("1", "2")
    assert load("parquet:set,label=patient_id", "test", data_dir=tmp_path).classes == (
        "0",
        "1",
        "2",
        "3",
    )
    write(label=TEXTS)
    assert load("set", "test", data_dir=tmp_path).classes == ("ant", "bee", "dog")
    features = {
        "image": {"_type": "Image"},
        "kind": {"names": ["x", "y"], "_type": "ClassLabel"},
        "site": {"_type": "Value"},
    }
    table = pa.table({**base, "site": [1, 1, 2, 2] * 2, "kind": [1, 0] * 4})
    pq.write_table(
        table.replace_schema_metadata(
            {"huggingface": json.dumps({"info": {"features": features}})}
        ),
        path,
    )
    declared = load("set", "test", data_dir=tmp_path)
    assert (declared.classes, declared.labels.tolist()) == (("x", "y"), [1, 0] * 4)


@pytest.mark.parametrize(
    "labels",
    [pa.array([-1, -1]), pa.array([None, None], pa.int64()), pa.array([None, None]), None],
    ids=["-1", "null", "nothing", "no column"],
)
def test_a_split_without_labels_names_those_that_have_some(
    labels: pa.Array | None, tmp_path: Path, png: Png
) -> None:
    """All -1, all null or no column at all: the split carries no labels, validation does."""
    images = [png(x) for x in COLOUR]
    for split in ("train", "validation"):
        _labelled(tmp_path / f"set/{split}.parquet", pa.array([0, 1]), images)
    _labelled(
        tmp_path / "set/test.parquet", labels if labels is not None else pa.array([0, 0]), images
    )
    if labels is None:
        pq.write_table(pa.table({"image": images[:2]}), tmp_path / "set/test.parquet")
    message = _error("set", tmp_path)
    assert "the split 'test' carries no labels" in message
    assert "use one that has labels: train, validation" in message
    assert load("set", "validation", data_dir=tmp_path).classes == ("0", "1")
