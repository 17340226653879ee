"""Folders of image files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from robbench.core.errors import UserError
from robbench.data.load import load

Png = Callable[[np.ndarray], bytes]
PIXELS = np.random.default_rng(1).integers(0, 256, (4, 6, 6, 3), dtype=np.uint8)


def _write(root: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


def test_pixels_labels_and_shared_classes(tmp_path: Path, png: Png) -> None:
    """Pixels equal what PIL wrote, gray becomes RGB, other files are ignored; a class missing from a split keeps its label."""
    _write(tmp_path, {f"set/train/{name}/0.png": png(PIXELS[0]) for name in ("ant", "bee", "cow")})
    _write(tmp_path, {"set/test/cow/b.png": png(PIXELS[1, ..., 0]), "set/test/cow/a.PNG": png(PIXELS[2])})
    _write(tmp_path, {"set/test/ant/x.png": png(PIXELS[3]), "set/test/ant/notes.txt": b"hello", "set/test/ant/.hidden.png": b""})
    split = load("folder:set", "test", data_dir=tmp_path)
    assert split.classes == ("ant", "bee", "cow")
    assert split.labels.tolist() == [0, 2, 2]
    expected = [PIXELS[3], PIXELS[2], np.stack([PIXELS[1, ..., 0]] * 3, -1)]
    assert np.array_equal(split.images, np.stack(expected).transpose(0, 3, 1, 2))


def test_size_scales_and_crops_the_centre(tmp_path: Path, png: Png) -> None:
    """size=4 of an 8x4 image is its middle; without size= the error about different sizes says to set it."""
    wide = np.zeros((4, 8, 3), np.uint8)
    wide[:, 2:6] = 200
    _write(tmp_path, {"set/test/a/0.png": png(wide), "set/test/b/0.png": png(PIXELS[0])})
    with pytest.raises(UserError, match=r"8x4 .* and 6x6 .*size=N"):
        load("folder:set", "test", data_dir=tmp_path)
    split = load("folder:set,size=4", "test", data_dir=tmp_path)
    assert split.images.shape == (2, 3, 4, 4)
    assert bool((split.images[0] == 200).all())


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
