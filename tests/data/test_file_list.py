"""Lists of images: RobustBench's of ImageNet, names with labels, and what is wrong with others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from robbench.core.errors import UserError
from robbench.data.load import load

Png = Callable[[np.ndarray], bytes]


@pytest.fixture
def imagenet(tmp_path: Path, png: Png) -> Path:
    """Validation images as they are unpacked: image n shows n; class folders, and all in one."""
    for n in range(6):
        data = png(np.full((4, 4, 3), n, np.uint8))
        name = f"ILSVRC2012_val_{n:08d}.png"
        for place in (f"sorted/val/n0000000{n % 3}/{name}", f"flat/val/{name}"):
            (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / place).write_bytes(data)
    return tmp_path


def _load(root: Path, folder: str, text: str, name: str = "few.txt") -> list[tuple[int, str]]:
    (root / folder / name).write_text(text, encoding="utf-8")
    split = load(f"folder:{folder},list={name}", "val", data_dir=root)
    shown = split.images[:, 0, 0, 0].tolist()
    return list(zip(shown, [split.classes[label] for label in split.labels], strict=True))


@pytest.mark.parametrize("folder", ["sorted", "flat"])
@pytest.mark.parametrize("prefix", ["", "val/", "./"])
def test_a_list_of_paths_chooses_orders_and_labels(
    folder: str, prefix: str, imagenet: Path
) -> None:
    """As RobustBench's list of 5,000, on both layouts: its folders are the classes."""
    wanted = [(4, "n00000001"), (0, "n00000000"), (3, "n00000000")]
    lines = [f"{prefix}{label}/ILSVRC2012_val_{n:08d}.png" for n, label in wanted]
    assert _load(imagenet, folder, "\n".join(lines)) == wanted


def test_names_with_labels(imagenet: Path) -> None:
    """A comma or a space and the class; names without suffix; a heading and boxes as Kaggle's."""
    text = "ILSVRC2012_val_00000005.png,n00000002\nILSVRC2012_val_00000001 n00000001\n\n"
    expected = [(5, "n00000002"), (1, "n00000001")]
    assert _load(imagenet, "flat", text) == expected
    kaggle = (
        "ImageId,PredictionString\nILSVRC2012_val_00000005,n00000002 85 1 499 272 \n"
        "ILSVRC2012_val_00000001,n00000001 1 2 3 4 5 6 7 8\n"
    )
    assert _load(imagenet, "flat", kaggle, "LOC_val_solution.csv") == expected
    assert _load(imagenet, "sorted", kaggle, "LOC_val_solution.csv") == expected


def test_classes_stay_those_of_the_folders(imagenet: Path) -> None:
    """A list of one class's images leaves the numbers of the others as they are."""
    (imagenet / "one.txt").write_text("ILSVRC2012_val_00000002.png\n", encoding="utf-8")
    split = load(f"folder:sorted,list={imagenet / 'one.txt'}", "val", data_dir=imagenet)
    assert split.classes == ("n00000000", "n00000001", "n00000002")
    assert split.labels.tolist() == [2]


def test_names_with_spaces_and_commas(tmp_path: Path, png: Png) -> None:
    """A line that is a file's name is just that."""
    for name in ("a b.png", "c,d.png"):
        (tmp_path / "set/val/great white").mkdir(parents=True, exist_ok=True)
        (tmp_path / "set/val/great white" / name).write_bytes(png(np.zeros((4, 4), np.uint8)))
    lines = "great white/a b.png\nc,d.png"
    assert _load(tmp_path, "set", lines) == [(0, "great white")] * 2


@pytest.mark.parametrize(
    ("folder", "text", "words"),
    [
        ("sorted", "n00000000/x.png\nn00000001/y.png\n", "'n00000000/x.png' (line 1) and 1 more"),
        ("sorted", "n00000001/ILSVRC2012_val_00000000.png", "does not have: 'n00000001/ILSVRC"),
        ("sorted", "ILSVRC2012_val_00000000.png,n00000001", "in another one"),
        ("sorted", "ILSVRC2012_val_00000000\nILSVRC2012_val_00000000.png", "line 2"),
        ("flat", "ILSVRC2012_val_00000000.png", "so it has no label; write ILSVRC2012"),
        ("flat", "\n\n", "names no images"),
    ],
)
def test_wrong_lists(folder: str, text: str, words: str, imagenet: Path) -> None:
    """One line that says which name, where, and what to do."""
    with pytest.raises(UserError) as caught:
        _load(imagenet, folder, text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_that_several_files_have(imagenet: Path) -> None:
    """It is not guessed which is meant, and no list at all is an error that says where."""
    other = imagenet / "sorted/val/n00000002/ILSVRC2012_val_00000000.png"
    other.write_bytes((imagenet / "flat/val/ILSVRC2012_val_00000000.png").read_bytes())
    with pytest.raises(UserError, match=r"2 images are called .* give the path in"):
        _load(imagenet, "sorted", "ILSVRC2012_val_00000000.png")
    with pytest.raises(UserError, match=r"no file 'none\.txt', neither here nor in"):
        load("folder:sorted,list=none.txt", "val", data_dir=imagenet)
    (imagenet / "bad.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read"):
        load(f"folder:sorted,list={imagenet / 'bad.txt'}", "val", data_dir=imagenet)
