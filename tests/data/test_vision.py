"""torchvision's sets, from files this test writes in their real binary formats."""

from __future__ import annotations

import hashlib
import os
import pickle
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from robbench.catalogue.builtins import DATA
from robbench.core.errors import RunError, UserError
from robbench.data.load import load

Png = Callable[[np.ndarray], bytes]
RANDOM = np.random.default_rng(2)


def _write_mnist(
    folder: Path, images: dict[str, np.ndarray], labels: dict[str, np.ndarray]
) -> None:
    # IDX: magic number (type 8 = uint8, number of dimensions), sizes as big-endian int32, then the
    # bytes.
    folder.mkdir(parents=True)
    for part, pixels in images.items():
        count, height, width = pixels.shape
        (folder / f"{part}-images-idx3-ubyte").write_bytes(
            struct.pack(">IIII", 0x803, count, height, width) + pixels.tobytes()
        )
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(
            struct.pack(">II", 0x801, count) + labels[part].tobytes()
        )


@pytest.mark.parametrize(
    ("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")]
)
def test_mnist_files(name: str, folder: str, tmp_path: Path) -> None:
    """IDX files in torchvision's layout give the pixels and labels written, for both splits."""
    images = {
        part: RANDOM.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        for part, n in (("train", 12), ("t10k", 11))
    }
    labels = {
        part: (np.arange(len(pixels)) % 10).astype(np.uint8) for part, pixels in images.items()
    }
    _write_mnist(tmp_path / folder / "raw", images, labels)
    for split, part in (("train", "train"), ("test", "t10k")):
        loaded = load(name, split, data_dir=tmp_path)
        assert np.array_equal(loaded.images[:, 0], images[part])
        assert np.array_equal(loaded.labels, labels[part])
        assert len(loaded.classes) == 10


def test_truncated_mnist_files(tmp_path: Path) -> None:
    """A cut-off IDX file is a UserError that names the file, not an assertion of torchvision's."""
    pixels, labels = np.zeros((3, 28, 28), np.uint8), np.zeros(3, np.uint8)
    _write_mnist(
        tmp_path / "MNIST/raw", {"train": pixels, "t10k": pixels}, {"train": labels, "t10k": labels}
    )
    file = tmp_path / "MNIST/raw/train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(UserError, match=r"torchvision cannot read .*train-images-idx3-ubyte"):
        load("mnist", "train", data_dir=tmp_path)


def _write_cifar(folder: Path, files: dict[str, dict[str, object]]) -> dict[str, str]:
    folder.mkdir(parents=True)
    sums = {}
    for name, content in files.items():
        data = pickle.dumps(content, protocol=2)
        (folder / name).write_bytes(data)
        sums[name] = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return sums


def test_cifar10_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CIFAR-10's pickled batches (rows of 3,072 bytes) give the pixels, with our class names."""
    from torchvision.datasets import CIFAR10

    batches = {
        f"data_batch_{i}": RANDOM.integers(0, 256, (2, 3072), dtype=np.uint8) for i in range(1, 6)
    }
    batches["test_batch"] = RANDOM.integers(0, 256, (3, 3072), dtype=np.uint8)
    files = {
        name: {"data": rows, "labels": [(7 * i) % 10 for i in range(len(rows))]}
        for name, rows in batches.items()
    }
    names = [
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ]
    sums = _write_cifar(
        tmp_path / "cifar-10-batches-py", {**files, "batches.meta": {"label_names": names}}
    )
    monkeypatch.setattr(
        CIFAR10, "train_list", [[f"data_batch_{i}", sums[f"data_batch_{i}"]] for i in range(1, 6)]
    )
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": sums["batches.meta"]})
    test = load("cifar10", "test", data_dir=tmp_path)
    assert np.array_equal(test.images.flatten(1), batches["test_batch"])
    assert test.labels.tolist() == [0, 7, 4]
    assert list(test.classes) == names
    assert len(load("cifar10[horse,airplane]", "train", data_dir=tmp_path)) == 10

    (tmp_path / "cifar-10-batches-py/test_batch").write_bytes(b"broken")
    with pytest.raises(UserError, match="add --download"):
        load("cifar10", "test", data_dir=tmp_path)


def test_svhn_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SVHN's MATLAB file (height, width, channel, image; 10 is 0) gives the pixels."""
    import scipy.io
    from torchvision.datasets import SVHN

    pixels, file = (
        RANDOM.integers(0, 256, (4, 3, 32, 32), dtype=np.uint8),
        tmp_path / "test_32x32.mat",
    )
    scipy.io.savemat(
        file, {"X": pixels.transpose(2, 3, 1, 0), "y": np.array([[10], [1], [9], [2]], np.uint8)}
    )
    md5 = hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
    monkeypatch.setattr(SVHN, "split_list", {"test": ["", file.name, md5]})
    loaded = load("svhn", "test", data_dir=tmp_path)
    assert np.array_equal(loaded.images, pixels)
    assert loaded.labels.tolist() == [0, 1, 9, 2]


def test_parquet_folder_of_the_same_name(
    tmp_path: Path, png: Png, write_parquet: Callable[..., None]
) -> None:
    """Without torchvision's files a Parquet folder is read, under the usual class names."""
    images = RANDOM.integers(0, 256, (2, 28, 28), dtype=np.uint8)
    spelt = [
        "T - shirt / top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ]
    write_parquet(
        tmp_path / "fashion-mnist/test.parquet", [png(x) for x in images], [9, 0], names=spelt
    )
    loaded = load("fashion-mnist", "test", data_dir=tmp_path)
    assert loaded.classes[0] == "T-shirt/top"
    assert np.array_equal(loaded.images[:, 0], images)
    write_parquet(
        tmp_path / "mnist/test.parquet", [png(x) for x in images], [1, 0], names=["even", "odd"]
    )
    assert load("mnist", "test", data_dir=tmp_path).classes == ("even", "odd")


def test_nothing_there_says_where_it_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Missing files: both places and --download in the error, no network, no torchvision."""
    monkeypatch.setitem(sys.modules, "torchvision", None)
    for name in ("mnist", "cifar10", "cifar100", "svhn", "fashion-mnist"):
        with pytest.raises(UserError, match="--download") as caught:
            load(name, "train", data_dir=tmp_path)
        assert str(tmp_path / name) in str(caught.value)


def test_pipes_among_the_files_are_refused(tmp_path: Path) -> None:
    """A FIFO in the place of a file is named; torchvision would wait for ever for what it holds."""
    for marker, data in (
        ("MNIST/raw/train-images-idx3-ubyte", "mnist"),
        ("test_32x32.mat", "svhn"),
    ):
        (tmp_path / marker).parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(tmp_path / marker)
        with pytest.raises(UserError, match="is no regular file; remove it"):
            load(data, "test", data_dir=tmp_path)


def test_similar_sets_in_the_data_folder_are_named(
    tmp_path: Path, png: Png, write_parquet: Callable[..., None]
) -> None:
    """Where mnist is not, mnist10k may be."""
    write_parquet(tmp_path / "mnist10k/test.parquet", [png(np.zeros((4, 4), np.uint8))], [0])
    with pytest.raises(
        UserError, match=r"no files: looked for .*; .* has mnist10k; add --download"
    ):
        load("mnist", "test", data_dir=tmp_path)


def test_a_broken_torchvision_points_at_the_doctor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When torchvision cannot be imported the error says to run `robbench doctor`."""
    (tmp_path / "cifar-10-batches-py").mkdir()
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    with pytest.raises(UserError, match="robbench doctor"):
        load("cifar10", "train", data_dir=tmp_path)


def test_a_failed_download_is_a_run_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """--download calls torchvision; its failure is a RunError, its output not on stdout."""
    from torchvision.datasets import MNIST

    def download(self: object) -> None:
        print("Downloading")
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz")

    monkeypatch.setattr(MNIST, "download", download)
    with pytest.raises(RunError, match="could not download"):
        load("mnist", "train", data_dir=tmp_path, download=True)
    assert capsys.readouterr().out == ""


def test_every_built_in_set_can_be_built() -> None:
    """Each registered name leads to a documented class."""
    for name in DATA.entries:
        assert DATA.find(name).__doc__
