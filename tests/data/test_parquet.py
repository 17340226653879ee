"""Parquet folders: pixels, columns, layouts and every way a file can be broken."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from robbench.core.errors import UserError
from robbench.data import parquet as parquet_module
from robbench.data.load import load

Png = Callable[[np.ndarray], bytes]
Write = Callable[..., None]

RANDOM = np.random.default_rng(0)
COLOUR = RANDOM.integers(0, 256, (8, 5, 6, 3), dtype=np.uint8)
LABELS = [0, 2, 1, 2, 0, 1, 1, 0]


def test_pixels_and_labels_survive_row_groups_and_shards(tmp_path: Path, png: Png, write_parquet: Write) -> None:
    """Two shards with several row groups each give the pixels that PIL wrote, in file order, and the metadata's class names."""
    names = ["cat", "dog", "emu"]
    for shard, part in enumerate((slice(0, 5), slice(5, 8))):
        path = tmp_path / "set" / f"train-0000{shard}-of-00002.parquet"
        write_parquet(path, [png(x) for x in COLOUR[part]], LABELS[part], names=names, rows_per_group=2)
    split = load("set", "train", data_dir=tmp_path)
    assert np.array_equal(split.images, COLOUR.transpose(0, 3, 1, 2))
    assert split.labels.tolist() == LABELS
    assert split.classes == ("cat", "dog", "emu")
    pair = load("set[emu,cat]", "train", data_dir=tmp_path)
    kept = np.isin(LABELS, [0, 2])
    assert np.array_equal(pair.images, COLOUR.transpose(0, 3, 1, 2)[kept])
    assert pair.labels.tolist() == [1 if label == 0 else 0 for label in np.array(LABELS)[kept]]


def test_only_selected_rows_are_decoded(tmp_path: Path, png: Png, write_parquet: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of three decodes three images, and broken ones behind it do no harm."""
    decoded = []
    original = parquet_module.decode_image
    monkeypatch.setattr(
        parquet_module, "decode_image", lambda data, where, *rest: decoded.append(where) or original(data, where, *rest)
    )
    write_parquet(tmp_path / "set/test.parquet", [*(png(x) for x in COLOUR[:4]), b"broken"], [0, 1, 0, 1, 0])
    assert len(load("set", "test", data_dir=tmp_path, limit=3)) == 3
    assert len(decoded) == 3


@pytest.mark.parametrize(
    "file", ["test.parquet", "test/part.parquet", "data/test-00000-of-00001.parquet", "plain/test-0.parquet"]
)
def test_layouts(file: str, tmp_path: Path, png: Png, write_parquet: Write) -> None:
    """Files beside, in a folder of the split, or in the inner folder of a Hugging Face repository are all found."""
    write_parquet(tmp_path / "set" / file, [png(COLOUR[0]), png(COLOUR[1])], [0, 1])
    assert len(load("parquet:set", "test", data_dir=tmp_path)) == 2


def test_two_configurations_are_ambiguous(tmp_path: Path, png: Png, write_parquet: Write) -> None:
    """Two inner folders that both hold the split are an error naming both."""
    for name in ("cropped", "full"):
        write_parquet(tmp_path / "set" / name / "test-0.parquet", [png(COLOUR[0])], [0])
    with pytest.raises(UserError, match="cropped, full"):
        load("set", "test", data_dir=tmp_path)


def test_the_working_folder_comes_first(tmp_path: Path, png: Png, write_parquet: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """parquet:DIR is looked for in the working folder before the data folder."""
    write_parquet(tmp_path / "here/set/test.parquet", [png(COLOUR[0])], [0])
    write_parquet(tmp_path / "data/set/test.parquet", [png(COLOUR[0])] * 2, [0, 0])
    monkeypatch.chdir(tmp_path / "here")
    assert len(load("parquet:set", "test", data_dir=tmp_path / "data")) == 1
    assert len(load("set", "test", data_dir=tmp_path / "data")) == 2


def test_gray_binary_columns_of_any_name(tmp_path: Path, png: Png, write_parquet: Write) -> None:
    """A plain binary column gives 1-channel images; with no usual name it is found by type, and it can be named."""
    gray = COLOUR[..., 0]
    write_parquet(tmp_path / "set/test.parquet", [png(x) for x in gray], LABELS, image="scan", label="kind", plain=True)
    for spec in ("set", "parquet:set,image=scan,label=kind"):
        assert np.array_equal(load(spec, "test", data_dir=tmp_path).images, gray[:, None])


def test_gray_among_colour_gets_three_channels(tmp_path: Path, png: Png, write_parquet: Write) -> None:
    """One gray image among coloured ones is repeated to three channels."""
    write_parquet(tmp_path / "set/test.parquet", [png(COLOUR[0]), png(COLOUR[1, ..., 0])], [0, 1])
    images = load("set", "test", data_dir=tmp_path).images
    assert np.array_equal(images[1], np.stack([COLOUR[1, ..., 0]] * 3))


def test_numbered_classes_are_counted_over_both_splits(tmp_path: Path, png: Png, write_parquet: Write) -> None:
    """Without class names the number of classes is the same in a split that lacks the last class."""
    write_parquet(tmp_path / "set/train.parquet", [png(x) for x in COLOUR[:3]], [0, 1, 4])
    write_parquet(tmp_path / "set/test.parquet", [png(x) for x in COLOUR[:2]], [0, 1])
    assert load("set", "test", data_dir=tmp_path).classes == ("0", "1", "2", "3", "4")


def _error(spec: str, folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        load(spec, "test", data_dir=folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_broken_image_bytes(tmp_path: Path, png: Png, write_parquet: Write) -> None:
    """Bytes that are no image, or end too early, or are missing: the row and file are named."""
    good = png(COLOUR[0])
    for bad, words in ((b"no image", "not a readable image"), (good[:60], "not a readable image"), (None, "no image bytes")):
        write_parquet(tmp_path / "set/test.parquet", [good, bad], [0, 1])
        message = _error("set", tmp_path)
        assert words in message
        assert "row 1" in message
        assert "test.parquet" in message
    null = pa.array([{"bytes": good}, None], pa.struct([("bytes", pa.binary())]))
    pq.write_table(pa.table({"image": null, "label": [0, 1]}), tmp_path / "set/test.parquet")
    assert "row 1" in _error("set", tmp_path)


def test_images_of_different_sizes(tmp_path: Path, png: Png, write_parquet: Write) -> None:
    """Different sizes are refused, with both sizes and what to do."""
    write_parquet(tmp_path / "set/test.parquet", [png(COLOUR[0]), png(COLOUR[1][:4])], [0, 1])
    message = _error("set", tmp_path)
    assert "6x5" in message
    assert "6x4" in message
    assert "size" in message


def test_sixteen_bit_images(tmp_path: Path, png: Png, write_parquet: Write) -> None:
    """A 16-bit PNG is scaled to 8 bits."""
    write_parquet(tmp_path / "set/test.parquet", [png(np.full((4, 4), 25700, np.uint16))], [0])
    assert load("set", "test", data_dir=tmp_path).images.unique().tolist() == [100]


def test_labels_out_of_range_or_missing(tmp_path: Path, png: Png, write_parquet: Write) -> None:
    """A label beyond the class names, a negative one and a null are each named."""
    path, images = tmp_path / "set/test.parquet", [png(COLOUR[0]), png(COLOUR[1])]
    write_parquet(path, images, [0, 2], names=["a", "b"])
    assert "label 2 of row 1 is out of range" in _error("set", tmp_path)
    write_parquet(path, images, [-1, -1])
    assert "label -1 of row 0" in _error("set", tmp_path)
    write_parquet(path, images, [0, None])
    assert "1 rows have no label" in _error("set", tmp_path)


def test_corrupt_truncated_and_empty_files(tmp_path: Path, png: Png, write_parquet: Write) -> None:
    """Garbage, a cut-off file, a flipped page and a file without rows are UserErrors."""
    path = tmp_path / "set/test.parquet"
    write_parquet(path, [png(x) for x in COLOUR], LABELS)
    good = path.read_bytes()
    for bad in (b"garbage", b"", good[: len(good) // 2], b"PAR1" + bytes(len(good) // 2) + good[len(good) // 2 + 4 :]):
        path.write_bytes(bad)
        assert str(path) in _error("set", tmp_path)
    write_parquet(path, [], [])
    assert "no samples" in _error("set", tmp_path)


def test_missing_and_ambiguous_columns(tmp_path: Path, png: Png, write_parquet: Write) -> None:
    """A column that does not exist, has the wrong type or is one of several candidates: the error lists what there is."""
    cells, path = [png(COLOUR[0]), png(COLOUR[1])], tmp_path / "set/test.parquet"
    write_parquet(path, cells, [0, 1])
    assert "no column 'imagee'; did you mean image" in _error("parquet:set,image=imagee", tmp_path)
    assert "cannot be the label" in _error("parquet:set,label=image", tmp_path)
    assert "no Parquet files of the split 'test'" in _error(f"parquet:{tmp_path}", tmp_path)
    pq.write_table(pa.table({"front": cells, "back": cells, "label": [0, 1]}), path)
    assert "several image columns: front, back; choose one with image=NAME" in _error("set", tmp_path)
    pq.write_table(pa.table({"image": cells, "text": ["a", "b"]}), path)
    assert "no label column; its columns are image, text" in _error("set", tmp_path)
    pq.write_table(pa.table({"image": cells, "fine_label": [0, 1], "coarse_label": [0, 0]}), path)
    assert load("set", "test", data_dir=tmp_path).labels.tolist() == [0, 1]


def _labelled(path: Path, labels: pa.Array, images: list[bytes], **more: pa.Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": images[: len(labels)], "label": labels, **more}), path)


def test_a_split_is_named_whole(tmp_path: Path, png: Png, write_parquet: Write) -> None:
    """The split testmini is no part of test, nor train_small of train; shards are; any split can be asked for."""
    cells = [png(x) for x in COLOUR]
    for name in ("test-00000-of-00001", "testmini-00000-of-00001", "test_small", "tests", "train1", "train2"):
        write_parquet(tmp_path / f"set/{name}.parquet", cells, LABELS)
    assert len(load("set", "test", data_dir=tmp_path)) == 8
    assert len(load("set", "train", data_dir=tmp_path)) == 16
    assert len(load("set", "testmini", data_dir=tmp_path)) == len(load("set", "test_small", data_dir=tmp_path)) == 8
    with pytest.raises(UserError, match=r"no Parquet files of the split 'validation'.*test, test_small, testmini, tests, train;"):
        load("set", "validation", data_dir=tmp_path)


@pytest.mark.parametrize("second", ["test-00000-of-00001.parquet", "test.parquet", "test-0.parquet"])
def test_a_split_that_is_there_twice(second: str, tmp_path: Path, png: Png, write_parquet: Write) -> None:
    """Shards of two countings, or shards beside a whole file, are an error that names them."""
    for name in ("test-00000-of-00002.parquet", "test-00001-of-00002.parquet", second):
        write_parquet(tmp_path / "set" / name, [png(COLOUR[0])], [0])
    assert "is there twice" in _error("set", tmp_path)
    assert second in _error("set", tmp_path)


def test_files_of_a_split_name_the_same_classes(tmp_path: Path, png: Png, write_parquet: Write) -> None:
    """Class 0 cannot be `cat` in one and `dog` in the other; a file without names takes those of the others."""
    one, two = (tmp_path / f"set/test-0000{n}-of-00002.parquet" for n in (0, 1))
    write_parquet(one, [png(COLOUR[0])], [0])
    write_parquet(two, [png(COLOUR[1])], [1], names=["cat", "dog"])
    split = load("set", "test", data_dir=tmp_path)
    assert (split.classes, split.labels.tolist()) == (("cat", "dog"), [0, 1])
    write_parquet(one, [png(COLOUR[0])], [0], names=["dog", "cat"])
    assert "class 0 is 'dog' in" in _error("set", tmp_path)


def test_shards_that_are_missing_are_told(tmp_path: Path, png: Png, write_parquet: Write) -> None:
    """Two of three files are read, and it is said."""
    for shard in (0, 2):
        write_parquet(tmp_path / f"set/test-0000{shard}-of-00003.parquet", [png(COLOUR[shard])], [shard])
    split = load("set", "test", data_dir=tmp_path)
    assert split.labels.tolist() == [0, 2]
    assert any("only 2 of the 3 files" in note for note in split.notes)


def test_pipes_are_not_opened(tmp_path: Path) -> None:
    """A FIFO with the name of a Parquet file is passed over."""
    (tmp_path / "set").mkdir()
    os.mkfifo(tmp_path / "set/test.parquet")
    assert "no Parquet files" in _error("parquet:set", tmp_path)


TEXTS = ["dog", "ant", "bee", "ant", "dog", "bee", "bee", "ant"]


@pytest.mark.parametrize(
    ("labels", "classes", "numbers"),
    [
        (pa.array(TEXTS), ("ant", "bee", "dog"), [2, 0, 1, 0, 2, 1, 1, 0]),
        (pa.array(TEXTS).dictionary_encode(), ("ant", "bee", "dog"), [2, 0, 1, 0, 2, 1, 1, 0]),
        (pa.array(TEXTS, pa.large_string()), ("ant", "bee", "dog"), [2, 0, 1, 0, 2, 1, 1, 0]),
        (pa.array(["10", "9", "2", "9", "10", "2", "2", "9"]), ("2", "9", "10"), [2, 1, 0, 1, 2, 0, 0, 1]),
        (pa.array([True, False] * 4), ("false", "true"), [1, 0] * 4),
        (pa.array([False] * 8), ("false", "true"), [0] * 8),
        (pa.array([1, 2, 3, 1, 2, 3, 3, 3], pa.uint8()), ("1", "2", "3"), [0, 1, 2, 0, 1, 2, 2, 2]),
        (pa.array([2, 1, 0, 1, 2, 0, 0, 0], pa.uint64()), ("0", "1", "2"), [2, 1, 0, 1, 2, 0, 0, 0]),
        (pa.array([2, 1, 0, 1, 2, 0, 0, 0]).dictionary_encode(), ("0", "1", "2"), [2, 1, 0, 1, 2, 0, 0, 0]),
    ],
    ids=["text", "category", "large-text", "numbers-as-text", "bool", "one-bool", "from-one", "uint64", "number-category"],
)
def test_labels_of_every_type(labels: pa.Array, classes: tuple[str, ...], numbers: list[int], tmp_path: Path, png: Png) -> None:
    """Texts, categories and booleans become classes in the order of their names; numbers count from the first class."""
    _labelled(tmp_path / "set/test.parquet", labels, [png(x) for x in COLOUR])
    split = load("set", "test", data_dir=tmp_path)
    assert split.classes == classes
    assert split.labels.tolist() == numbers


@pytest.mark.parametrize("labels", [pa.array(["a", None, "b"]), pa.array(["a", None, "b"]).dictionary_encode()])
def test_a_text_that_is_null_is_no_label(labels: pa.Array, tmp_path: Path, png: Png) -> None:
    """A null among texts or categories is counted as for numbers."""
    _labelled(tmp_path / "set/test.parquet", labels, [png(x) for x in COLOUR])
    assert "1 rows have no label" in _error("set", tmp_path)


def test_ordered_categories_keep_their_order(tmp_path: Path, png: Png) -> None:
    """low, mid, high stay in that order where every file has it, also when a split lacks one of them."""
    for split, codes in (("train", [2, 0, 1]), ("test", [2, 2, 0])):
        levels = pa.DictionaryArray.from_arrays(pa.array(codes, pa.int8()), pa.array(["low", "mid", "high"]), ordered=True)
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


def test_labels_that_are_numbers_without_names(tmp_path: Path, png: Png) -> None:
    """Labels from 1 count from 0 unless told; sparse ones are renumbered on demand; a number out of reason is refused."""
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


def test_other_splits_may_be_broken(tmp_path: Path, png: Png, write_parquet: Write) -> None:
    """Where class names are known the test split is read whatever the training files are: not fetched, or there twice."""
    write_parquet(tmp_path / "set/test.parquet", [png(COLOUR[0])], [1], names=["a", "b"])
    (tmp_path / "set/train.parquet").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    assert load("set", "test", data_dir=tmp_path).labels.tolist() == [1]
    (tmp_path / "set/train-00000-of-00001.parquet").write_bytes(b"")
    assert load("set", "test", data_dir=tmp_path).labels.tolist() == [1]
    write_parquet(tmp_path / "set/test.parquet", [png(COLOUR[0])], [1])
    assert "is there twice" in _error("set", tmp_path)


def test_what_cannot_be_a_label(tmp_path: Path, png: Png) -> None:
    """A label column of fractions is told by its type, not as missing; two files of one split must agree."""
    images = [png(x) for x in COLOUR]
    _labelled(tmp_path / "set/test.parquet", pa.array([0.0, 1.0]), images)
    assert "column 'label' holds double, which cannot be the label; it should hold whole numbers, texts" in _error(
        "set", tmp_path
    )
    _labelled(tmp_path / "two/test-0.parquet", pa.array([0, 1]), images)
    _labelled(tmp_path / "two/test-1.parquet", pa.array(["a", "b"]), images)
    assert "test-1.parquet: column 'label' holds string, in the first file of its split int64" in _error("two", tmp_path)
    _labelled(tmp_path / "two/test-1.parquet", pa.array([2, 1], pa.int16()), images)
    assert load("two", "test", data_dir=tmp_path).labels.tolist() == [0, 1, 2, 1]


def test_the_label_column_is_no_numbering_of_something_else(tmp_path: Path, png: Png) -> None:
    """Ids, sizes and file names are not taken; of two columns that could be labels none is; a single one is, and it is said."""
    path = tmp_path / "set/test.parquet"
    path.parent.mkdir()
    base = {"image": [png(x) for x in COLOUR], "patient_id": [0, 0, 1, 1, 2, 2, 3, 3], "width": [6] * 8, "file": list("abcdefgh")}

    def write(**more: object) -> None:
        pq.write_table(pa.table({**base, **more}), path)

    write()
    assert "has no label column; its columns are image, patient_id, width, file; one is chosen with label=NAME" in _error(
        "set", tmp_path
    )
    write(diagnosis=["good", "bad"] * 4)
    split = load("set", "test", data_dir=tmp_path)
    assert (split.classes, split.labels.tolist()) == (("bad", "good"), [1, 0] * 4)
    assert any("column 'diagnosis' is taken as the label" in note for note in split.notes)
    write(diagnosis=["good", "bad"] * 4, site=[1, 1, 2, 2] * 2)
    assert "several label columns: diagnosis, site; choose one with label=NAME" in _error("set", tmp_path)
    assert load("parquet:set,label=site", "test", data_dir=tmp_path).classes == ("1", "2")
    assert load("parquet:set,label=patient_id", "test", data_dir=tmp_path).classes == ("0", "1", "2", "3")
    write(label=TEXTS)
    assert load("set", "test", data_dir=tmp_path).classes == ("ant", "bee", "dog")
    features = {"image": {"_type": "Image"}, "kind": {"names": ["x", "y"], "_type": "ClassLabel"}, "site": {"_type": "Value"}}
    table = pa.table({**base, "site": [1, 1, 2, 2] * 2, "kind": [1, 0] * 4})
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})}), path)
    declared = load("set", "test", data_dir=tmp_path)
    assert (declared.classes, declared.labels.tolist()) == (("x", "y"), [1, 0] * 4)


@pytest.mark.parametrize(
    "labels",
    [pa.array([-1, -1]), pa.array([None, None], pa.int64()), pa.array([None, None]), None],
    ids=["-1", "null", "nothing", "no column"],
)
def test_a_split_without_labels_names_those_that_have_some(labels: pa.Array | None, tmp_path: Path, png: Png) -> None:
    """All -1, all null or no column at all: the split carries no labels, validation does."""
    images = [png(x) for x in COLOUR]
    for split in ("train", "validation"):
        _labelled(tmp_path / f"set/{split}.parquet", pa.array([0, 1]), images)
    _labelled(tmp_path / "set/test.parquet", labels if labels is not None else pa.array([0, 0]), images)
    if labels is None:
        pq.write_table(pa.table({"image": images[:2]}), tmp_path / "set/test.parquet")
    message = _error("set", tmp_path)
    assert "the split 'test' carries no labels" in message
    assert "use one that has labels: train, validation" in message
    assert load("set", "validation", data_dir=tmp_path).classes == ("0", "1")


def test_images_of_different_sizes_can_be_resized(tmp_path: Path, png: Png, write_parquet: Write) -> None:
    """size= works as for folders, and the hint about different sizes names it."""
    wide = np.zeros((4, 8, 3), np.uint8)
    wide[:, 2:6] = 200
    write_parquet(tmp_path / "set/test.parquet", [png(wide), png(COLOUR[0])], [0, 1])
    assert "set size=N, or resize=N,crop=N" in _error("set", tmp_path)
    images = load("parquet:set,size=4", "test", data_dir=tmp_path).images
    assert images.shape == (2, 3, 4, 4)
    assert bool((images[0] == 200).all())


def test_a_limit_does_not_change_the_number_of_channels(tmp_path: Path, png: Png, write_parquet: Write) -> None:
    """Grey images that come before a coloured one have three channels under a limit too."""
    write_parquet(tmp_path / "set/test.parquet", [png(COLOUR[0, ..., 0]), png(COLOUR[1])], [0, 1])
    whole, first = load("set", "test", data_dir=tmp_path), load("set", "test", data_dir=tmp_path, limit=1)
    assert first.ids.tolist() == whole.ids[:1].tolist()
    assert load("parquet:set,channels=1", "test", data_dir=tmp_path).images.shape[1] == 1


def test_real_cifar10(real_data: Path) -> None:
    """The real CIFAR-10 test set has 1,000 images of every class, and a pair of classes is renumbered."""
    pair = load("cifar10[horse,airplane][stratified=40]", "test", data_dir=real_data)
    assert pair.classes == ("horse", "airplane")
    assert torch.bincount(pair.labels).tolist() == [20, 20]
    assert pair.images.shape == (40, 3, 32, 32)
    assert pair.images.float().std() > 20
