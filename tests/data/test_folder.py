"""Folders of image files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robbench.core.errors import UserError
from robbench.data.load import load

Png = Callable[[np.ndarray], bytes]
PIXELS = np.random.default_rng(1).integers(0, 256, (4, 6, 6, 3), dtype=np.uint8)


def _write(root: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


def test_pixels_labels_and_shared_classes(tmp_path: Path, png: Png) -> None:
    """Pixels equal PIL's, gray becomes RGB, other files are ignored; classes keep labels."""
    _write(tmp_path, {f"set/train/{name}/0.png": png(PIXELS[0]) for name in ("ant", "bee", "cow")})
    _write(
        tmp_path,
        {"set/test/cow/b.png": png(PIXELS[1, ..., 0]), "set/test/cow/a.PNG": png(PIXELS[2])},
    )
    _write(
        tmp_path,
        {
            "set/test/ant/x.png": png(PIXELS[3]),
            "set/test/ant/notes.txt": b"hello",
            "set/test/ant/.hidden.png": b"",
        },
    )
    split = load("folder:set", "test", data_dir=tmp_path)
    assert split.classes == ("ant", "bee", "cow")
    assert split.labels.tolist() == [0, 2, 2]
    expected = [PIXELS[3], PIXELS[2], np.stack([PIXELS[1, ..., 0]] * 3, -1)]
    assert np.array_equal(split.images, np.stack(expected).transpose(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"set/train/a/0.png": b""}, "no sub-folder 'test'; it has: train"),
        ({"set/test/a/0.txt": b""}, "no images"),
        ({"set/test/a/0.png": b"broken"}, "not a readable image"),
    ],
)
def test_broken_folders(files: dict[str, bytes], words: str, tmp_path: Path) -> None:
    """A missing split, a split without images and a broken file are UserErrors that say which."""
    _write(tmp_path, files)
    with pytest.raises(UserError, match=words):
        load("folder:set", "test", data_dir=tmp_path)


def test_gray_folders_have_one_channel(tmp_path: Path, png: Png) -> None:
    """Grey in every split: one channel, with a note; a coloured image anywhere: RGB, noted."""
    gray = PIXELS[..., 0]
    _write(
        tmp_path,
        {
            f"set/{s}/{c}/{i}.png": png(gray[i])
            for s in ("train", "test")
            for c in "ab"
            for i in range(2)
        },
    )
    split = load("folder:set", "test", data_dir=tmp_path)
    assert np.array_equal(split.images, gray[[0, 1, 0, 1], None])
    assert any("one channel" in note for note in split.notes)
    assert load("folder:set,channels=3", "test", data_dir=tmp_path).images.shape == (4, 3, 6, 6)
    _write(tmp_path, {"set/test/b/9.png": png(PIXELS[3])})
    mixed = load("folder:set", "test", data_dir=tmp_path, limit=1)
    assert mixed.images.shape == (1, 3, 6, 6)
    assert any("RGB" in note for note in mixed.notes)
    luma = np.asarray(Image.fromarray(PIXELS[3]).convert("L"))
    assert np.array_equal(
        load("folder:set,channels=1", "test", data_dir=tmp_path).images[-1, 0], luma
    )


def test_classes_that_train_lacks_are_told(tmp_path: Path, png: Png) -> None:
    """`Cat` and `cat` are two classes: the one without training images can never be right."""
    _write(
        tmp_path,
        {
            f"set/{name}/0.png": png(PIXELS[0])
            for name in ("train/Cat", "train/dog", "test/cat", "test/dog")
        },
    )
    split = load("folder:set", "test", data_dir=tmp_path)
    assert split.classes == ("Cat", "cat", "dog")
    assert "classes that the split train lacks: cat" in split.notes
    assert not any("lacks" in note for note in load("folder:set", "train", data_dir=tmp_path).notes)


def test_classes_that_are_numbers_are_in_the_order_of_numbers(tmp_path: Path, png: Png) -> None:
    """Folders 1 to 12 come as 1, 2, ..., 12; with one that is no number all are texts."""
    _write(
        tmp_path, {f"set/test/{n}/{n}.png": png(np.full((4, 4), n, np.uint8)) for n in range(1, 13)}
    )
    split = load("folder:set", "test", data_dir=tmp_path)
    assert split.classes == tuple(str(n) for n in range(1, 13))
    assert split.images[:, 0, 0, 0].tolist() == list(range(1, 13))
    _write(tmp_path, {"set/test/x/0.png": png(PIXELS[0, :4, :4, 0])})
    assert load("folder:set", "test", data_dir=tmp_path).classes[:5] == ("1", "10", "11", "12", "2")


def test_a_class_is_a_folder_with_images(tmp_path: Path, png: Png) -> None:
    """What archives and notebooks leave is no class; an empty one and other files are noted."""
    _write(
        tmp_path,
        {f"set/{s}/{c}/0.png": png(PIXELS[0]) for s in ("train", "test") for c in ("ant", "bee")},
    )
    _write(
        tmp_path,
        {
            f"set/test/{junk}/0.png": png(PIXELS[0])
            for junk in ("__MACOSX", ".ipynb_checkpoints", "@eaDir")
        },
    )
    _write(
        tmp_path, {"set/__MACOSX/test/ant/0.png": b"", "set/annotations/xmls/0.png": png(PIXELS[0])}
    )
    _write(
        tmp_path,
        {
            "set/test/ant/.ipynb_checkpoints/0.png": b"",
            "set/test/ant/boxes.txt": b"",
            "set/test/odd.png": b"",
        },
    )
    (tmp_path / "set/test/cow").mkdir()
    split = load("folder:set", "test", data_dir=tmp_path)
    assert split.classes == ("ant", "bee")
    assert len(split) == 2
    said = " ".join(split.notes)
    assert "no classes: cow" in said
    assert "1 (.txt)" in said
    assert "1 images are outside" in said


def test_images_at_any_depth_and_links_in_a_circle(tmp_path: Path, png: Png) -> None:
    """Images in sub-folders of a class belong to it; a link back to the class is no loop."""
    _write(
        tmp_path, {"set/test/a/0.png": png(PIXELS[0]), "set/test/a/more/deep/1.png": png(PIXELS[1])}
    )
    _write(tmp_path, {"set/test/b/images/0.png": png(PIXELS[2])})
    (tmp_path / "set/test/a/more/back").symlink_to(
        tmp_path / "set/test/a", target_is_directory=True
    )
    split = load("folder:set", "test", data_dir=tmp_path)
    assert split.labels.tolist() == [0, 0, 1]
    assert np.array_equal(split.images, PIXELS[:3].transpose(0, 3, 1, 2))


def test_pipes_are_not_opened(tmp_path: Path, png: Png) -> None:
    """A FIFO with an image's name is passed over; opening it would wait for ever."""
    _write(tmp_path, {f"set/test/{c}/0.png": png(PIXELS[0]) for c in "ab"})
    os.mkfifo(tmp_path / "set/test/a/1.png")
    assert len(load("folder:set", "test", data_dir=tmp_path)) == 2


def test_names_that_are_no_utf8(tmp_path: Path, png: Png) -> None:
    """A non-UTF-8 folder gives a printable class; composed and decomposed names are one."""
    _write(
        tmp_path,
        {"set/train/caf\udce9/0.png": png(PIXELS[0]), "set/test/e\u0301/0.png": png(PIXELS[1])},
    )
    _write(
        tmp_path,
        {"set/train/\u00e9/0.png": png(PIXELS[2]), "set/test/caf\udce9/0.png": png(PIXELS[3])},
    )
    split = load("folder:set", "test", data_dir=tmp_path)
    assert split.classes == ("caf\\xe9", "\u00e9")
    assert np.array_equal(split.images, PIXELS[[3, 1]].transpose(0, 3, 1, 2))


def test_other_splits_and_unlabelled_ones(tmp_path: Path, png: Png) -> None:
    """Any sub-folder can be a split; one without class folders is refused with those that are."""
    _write(
        tmp_path,
        {f"set/{s}/{c}/0.png": png(PIXELS[0]) for s in ("train", "val", "hard") for c in "ab"},
    )
    _write(tmp_path, {"set/test/0.png": png(PIXELS[0])})
    assert (
        len(load("folder:set", "val", data_dir=tmp_path))
        == len(load("folder:set", "hard", data_dir=tmp_path))
        == 2
    )
    with pytest.raises(
        UserError,
        match="1 images but no class folders, so no labels; splits with labels: train, val",
    ):
        load("folder:set", "test", data_dir=tmp_path)
    for wrong in ("../set/val", "", ".", "a/b"):
        with pytest.raises(UserError, match="cannot be a split"):
            load("folder:set", wrong, data_dir=tmp_path)
