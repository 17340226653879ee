"""Options of all image files: size, crop and colours as torchvision makes them; names in order."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from robbench.core.errors import UserError
from robbench.data.image_files import class_name, in_order, listed
from robbench.data.load import load

Png = Callable[[np.ndarray], bytes]


def test_size_scales_and_crops_the_centre(tmp_path: Path, png: Png) -> None:
    """size=4 of an 8x4 image is its middle; without size= the error says to set it."""
    wide = np.zeros((4, 8, 3), np.uint8)
    wide[:, 2:6] = 200
    _write(tmp_path, {"set/test/a/0.png": png(wide), "set/test/b/0.png": png(PIXELS[0])})
    with pytest.raises(UserError, match=r"8x4 .* and 6x6 .*size=N"):
        load("folder:set", "test", data_dir=tmp_path)
    split = load("folder:set,size=4", "test", data_dir=tmp_path)
    assert split.images.shape == (2, 3, 4, 4)
    assert bool((split.images[0] == 200).all())


def test_resize_and_crop_are_torchvisions(tmp_path: Path, png: Png) -> None:
    """resize=, crop= and filter= equal torchvision's Resize and CenterCrop; size=N crops.

    squash=true equals its Resize to height and width.
    """
    transforms = pytest.importorskip("torchvision.transforms", exc_type=ImportError)
    images = [
        np.random.default_rng(i).integers(0, 256, (*size, 3), dtype=np.uint8)
        for i, size in enumerate([(41, 60), (75, 52)])
    ]
    _write(
        tmp_path, {f"set/test/{c}/0.png": png(image) for c, image in zip("ab", images, strict=True)}
    )
    for options, side, filtered in (
        ("crop=32,resize=37,filter=bicubic", 37, 3),
        ("size=32,resize=40", 40, 2),
        ("crop=32,resize=37,squash=true", (37, 37), 2),
        ("size=32,squash=true,filter=bicubic", (32, 32), 3),
    ):
        there = transforms.Compose([transforms.Resize(side, filtered), transforms.CenterCrop(32)])
        expected = [
            np.asarray(there(Image.fromarray(image))).transpose(2, 0, 1) for image in images
        ]
        assert np.array_equal(
            load(f"folder:set,{options}", "test", data_dir=tmp_path).images, np.stack(expected)
        )
    with pytest.raises(
        UserError, match=r"a/0.png: the image is 60x41, smaller than the crop of 64; add resize=64"
    ):
        load("folder:set,crop=64", "test", data_dir=tmp_path)
    with pytest.raises(UserError, match="squash=true scales nothing by itself; add size=N or res"):
        load("folder:set,squash=true", "test", data_dir=tmp_path)
    with pytest.raises(UserError, match="give size or crop"):
        load("folder:set,size=32,crop=32", "test", data_dir=tmp_path)


@pytest.mark.parametrize("options", ["size=1000", "resize=1000,crop=1000"])
def test_a_narrow_image_is_not_scaled_without_end(options: str, tmp_path: Path, png: Png) -> None:
    """1 x 100,000 pixels to a shorter side of 1,000 are 10^11: an error with the file."""
    _write(
        tmp_path,
        {
            "set/test/a/0.png": png(np.zeros((1, 100_000), np.uint8)),
            "set/test/b/0.png": png(PIXELS[0]),
        },
    )
    with pytest.raises(
        UserError, match=r"a/0.png: the image is 100000x1; scaled it would have more than"
    ):
        load(f"folder:set,{options}", "test", data_dir=tmp_path)


PIXELS = np.random.default_rng(1).integers(0, 256, (4, 6, 6, 3), dtype=np.uint8)


def _write(root: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


@given(st.lists(st.integers(0, 10**30)))
def test_numbers_are_in_their_own_order(numbers: list[int]) -> None:
    """Class 10 comes after class 2; one name that is no number, and all are text again."""
    names = [str(n) for n in numbers]
    assert in_order(names) == [str(n) for n in sorted(set(numbers))]
    assert in_order([*names, "x"]) == sorted({*names, "x"})


def test_numbers_written_otherwise_are_other_classes() -> None:
    """With leading zeros; signs, points and other scripts are text."""
    assert in_order(["10", "2", "02", "1"]) == ["1", "02", "2", "10"]
    for other in ("-1", "1.5", "\u0663"):
        assert in_order(["10", "2", other]) == sorted(["10", "2", other])


@given(st.text(max_size=20))
def test_a_class_name_is_text_that_can_be_written(name: str) -> None:
    """Composed, valid UTF-8, and the same when it is read again."""
    found = class_name(os.fsdecode(name.encode("utf-8", "surrogatepass")))
    assert found.encode("utf-8").decode("utf-8") == found
    assert unicodedata.is_normalized("NFC", found)
    assert class_name(found) == found


def test_bytes_that_are_no_text_are_spelled_out() -> None:
    assert class_name(os.fsdecode(b"caf\xe9")) == r"caf\xe9"
    assert class_name("e\u0301") == "\xe9"


@pytest.mark.parametrize(
    ("count", "text"), [(0, ""), (2, "0, 1"), (3, "0, 1, 2"), (4, "0, 1, 2, ... (4)")]
)
def test_long_lists_are_cut(count: int, text: str) -> None:
    assert listed(map(str, range(count)), most=3) == text
