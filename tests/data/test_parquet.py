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


def test_pixels_and_labels_survive_row_groups_and_shards(
    tmp_path: Path, png: Png, write_parquet: Write
) -> None:
    """Two shards of several row groups give PIL's pixels in file order, and the class names."""
    names = ["cat", "dog", "emu"]
    for shard, part in enumerate((slice(0, 5), slice(5, 8))):
        path = tmp_path / "set" / f"train-0000{shard}-of-00002.parquet"
        write_parquet(
            path, [png(x) for x in COLOUR[part]], LABELS[part], names=names, rows_per_group=2
        )
    split = load("set", "train", data_dir=tmp_path)
    assert np.array_equal(split.images, COLOUR.transpose(0, 3, 1, 2))
    assert split.labels.tolist() == LABELS
    assert split.classes == ("cat", "dog", "emu")
    pair = load("set[emu,cat]", "train", data_dir=tmp_path)
    kept = np.isin(LABELS, [0, 2])
    assert np.array_equal(pair.images, COLOUR.transpose(0, 3, 1, 2)[kept])
    assert pair.labels.tolist() == [1 if label == 0 else 0 for label in np.array(LABELS)[kept]]


def test_only_selected_rows_are_decoded(
    tmp_path: Path, png: Png, write_parquet: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit of three decodes three images, and broken ones behind it do no harm."""
    decoded = []
    original = parquet_module.decode_image
    monkeypatch.setattr(
        parquet_module,
        "decode_image",
        lambda data, where, *rest: decoded.append(where) or original(data, where, *rest),
    )
    write_parquet(
        tmp_path / "set/test.parquet", [*(png(x) for x in COLOUR[:4]), b"broken"], [0, 1, 0, 1, 0]
    )
    assert len(load("set", "test", data_dir=tmp_path, limit=3)) == 3
    assert len(set(decoded)) == 3


def test_the_working_folder_comes_first(
    tmp_path: Path, png: Png, write_parquet: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """parquet:DIR is looked for in the working folder before the data folder."""
    write_parquet(tmp_path / "here/set/test.parquet", [png(COLOUR[0])], [0])
    write_parquet(tmp_path / "data/set/test.parquet", [png(COLOUR[0])] * 2, [0, 0])
    monkeypatch.chdir(tmp_path / "here")
    assert len(load("parquet:set", "test", data_dir=tmp_path / "data")) == 1
    assert len(load("set", "test", data_dir=tmp_path / "data")) == 2


def test_gray_binary_columns_of_any_name(tmp_path: Path, png: Png, write_parquet: Write) -> None:
    """A plain binary column gives 1-channel images; it is found by type, or named."""
    gray = COLOUR[..., 0]
    write_parquet(
        tmp_path / "set/test.parquet",
        [png(x) for x in gray],
        LABELS,
        image="scan",
        label="kind",
        plain=True,
    )
    for spec in ("set", "parquet:set,image=scan,label=kind"):
        assert np.array_equal(load(spec, "test", data_dir=tmp_path).images, gray[:, None])


def test_gray_among_colour_gets_three_channels(
    tmp_path: Path, png: Png, write_parquet: Write
) -> None:
    """One gray image among coloured ones is repeated to three channels."""
    write_parquet(tmp_path / "set/test.parquet", [png(COLOUR[0]), png(COLOUR[1, ..., 0])], [0, 1])
    images = load("set", "test", data_dir=tmp_path).images
    assert np.array_equal(images[1], np.stack([COLOUR[1, ..., 0]] * 3))


def test_numbered_classes_are_counted_over_both_splits(
    tmp_path: Path, png: Png, write_parquet: Write
) -> None:
    """Without class names the number of classes is that of all splits."""
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
    for bad, words in (
        (b"no image", "not a readable image"),
        (good[:60], "not a readable image"),
        (None, "no image bytes"),
    ):
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


def test_corrupt_truncated_and_empty_files(tmp_path: Path, png: Png, write_parquet: Write) -> None:
    """Garbage, a cut-off file, a flipped page and a file without rows are UserErrors."""
    path = tmp_path / "set/test.parquet"
    write_parquet(path, [png(x) for x in COLOUR], LABELS)
    good = path.read_bytes()
    for bad in (
        b"garbage",
        b"",
        good[: len(good) // 2],
        b"PAR1" + bytes(len(good) // 2) + good[len(good) // 2 + 4 :],
    ):
        path.write_bytes(bad)
        assert str(path) in _error("set", tmp_path)
    write_parquet(path, [], [])
    assert "no samples" in _error("set", tmp_path)


def test_missing_and_ambiguous_columns(tmp_path: Path, png: Png, write_parquet: Write) -> None:
    """A column missing, of a wrong type or ambiguous: the error lists the columns."""
    cells, path = [png(COLOUR[0]), png(COLOUR[1])], tmp_path / "set/test.parquet"
    write_parquet(path, cells, [0, 1])
    assert "no column 'imagee'; did you mean image" in _error("parquet:set,image=imagee", tmp_path)
    assert "cannot be the label" in _error("parquet:set,label=image", tmp_path)
    assert "no Parquet files of the split 'test'" in _error(f"parquet:{tmp_path}", tmp_path)
    pq.write_table(pa.table({"front": cells, "back": cells, "label": [0, 1]}), path)
    assert "several image columns: front, back; choose one with image=NAME" in _error(
        "set", tmp_path
    )
    pq.write_table(pa.table({"image": cells, "text": ["a", "b"]}), path)
    assert "no label column; its columns are image, text" in _error("set", tmp_path)
    pq.write_table(pa.table({"image": cells, "fine_label": [0, 1], "coarse_label": [0, 0]}), path)
    assert load("set", "test", data_dir=tmp_path).labels.tolist() == [0, 1]


def test_files_of_a_split_name_the_same_classes(
    tmp_path: Path, png: Png, write_parquet: Write
) -> None:
    """Class 0 cannot be `cat` here and `dog` there; a file without names takes the others'."""
    one, two = (tmp_path / f"set/test-0000{n}-of-00002.parquet" for n in (0, 1))
    write_parquet(one, [png(COLOUR[0])], [0])
    write_parquet(two, [png(COLOUR[1])], [1], names=["cat", "dog"])
    split = load("set", "test", data_dir=tmp_path)
    assert (split.classes, split.labels.tolist()) == (("cat", "dog"), [0, 1])
    write_parquet(one, [png(COLOUR[0])], [0], names=["dog", "cat"])
    assert "class 0 is 'dog' in" in _error("set", tmp_path)


def test_other_splits_may_be_broken(tmp_path: Path, png: Png, write_parquet: Write) -> None:
    """With known class names the test split is read whatever the training files are."""
    write_parquet(tmp_path / "set/test.parquet", [png(COLOUR[0])], [1], names=["a", "b"])
    (tmp_path / "set/train.parquet").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    assert load("set", "test", data_dir=tmp_path).labels.tolist() == [1]
    (tmp_path / "set/train-00000-of-00001.parquet").write_bytes(b"")
    assert load("set", "test", data_dir=tmp_path).labels.tolist() == [1]
    write_parquet(tmp_path / "set/test.parquet", [png(COLOUR[0])], [1])
    assert "is there twice" in _error("set", tmp_path)


def test_images_of_different_sizes_can_be_resized(
    tmp_path: Path, png: Png, write_parquet: Write
) -> None:
    """size= works as for folders, and the hint about different sizes names it."""
    wide = np.zeros((4, 8, 3), np.uint8)
    wide[:, 2:6] = 200
    write_parquet(tmp_path / "set/test.parquet", [png(wide), png(COLOUR[0])], [0, 1])
    assert "set size=N, or resize=N,crop=N" in _error("set", tmp_path)
    images = load("parquet:set,size=4", "test", data_dir=tmp_path).images
    assert images.shape == (2, 3, 4, 4)
    assert bool((images[0] == 200).all())
    for name, pixels in (("a/0", wide), ("b/0", COLOUR[0])):
        (tmp_path / f"files/test/{name}.png").parent.mkdir(parents=True)
        (tmp_path / f"files/test/{name}.png").write_bytes(png(pixels))
    one, other = (
        load(f"{spec},resize=7,crop=5,filter=bicubic", "test", data_dir=tmp_path)
        for spec in ("parquet:set", "folder:files")
    )
    assert one.images.shape == (2, 3, 5, 5)
    assert one.ids.tolist() == other.ids.tolist()


def test_a_limit_does_not_change_the_number_of_channels(
    tmp_path: Path, png: Png, write_parquet: Write
) -> None:
    """Grey images that come before a coloured one have three channels under a limit too."""
    write_parquet(tmp_path / "set/test.parquet", [png(COLOUR[0, ..., 0]), png(COLOUR[1])], [0, 1])
    whole, first = (
        load("set", "test", data_dir=tmp_path),
        load("set", "test", data_dir=tmp_path, limit=1),
    )
    assert first.ids.tolist() == whole.ids[:1].tolist()
    assert load("parquet:set,channels=1", "test", data_dir=tmp_path).images.shape[1] == 1


def test_real_cifar10(real_data: Path) -> None:
    """The real CIFAR-10 test set has 1,000 images per class; a pair of classes is renumbered."""
    pair = load("cifar10[horse,airplane][stratified=40]", "test", data_dir=real_data)
    assert pair.classes == ("horse", "airplane")
    assert torch.bincount(pair.labels).tolist() == [20, 20]
    assert pair.images.shape == (40, 3, 32, 32)
    assert pair.images.float().std() > 20
