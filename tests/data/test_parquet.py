"""Parquet folders: pixels, columns, layouts and every way a file can be broken."""

from __future__ import annotations

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
    monkeypatch.setattr(parquet_module, "decode_image", lambda data, where: decoded.append(where) or original(data, where))
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
    """A 16-bit PNG is refused instead of being cut to 8 bits."""
    write_parquet(tmp_path / "set/test.parquet", [png(np.full((4, 4), 300, np.uint16))], [0])
    assert "more than 8 bits" in _error("set", tmp_path)


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


def test_real_cifar10(real_data: Path) -> None:
    """The real CIFAR-10 test set has 1,000 images of every class, and a pair of classes is renumbered."""
    pair = load("cifar10[horse,airplane][stratified=40]", "test", data_dir=real_data)
    assert pair.classes == ("horse", "airplane")
    assert torch.bincount(pair.labels).tolist() == [20, 20]
    assert pair.images.shape == (40, 3, 32, 32)
    assert pair.images.float().std() > 20
