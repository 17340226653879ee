"""The public image sets: torchvision's files, else a Parquet folder of the same name."""

from __future__ import annotations

import contextlib
import sys
from abc import abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from robbench.core.errors import RunError, UserError
from robbench.data.base import Data, Table, reason, require_split
from robbench.data.data_folder import data_folder, private_sets

_DIGITS = tuple("0123456789")


class _TorchvisionData(Data):
    """Finds, opens and on request downloads one of torchvision's data sets.

    `name` is the torchvision class, `folder` the Parquet folder and `classes` the class names (()
    where the files say).
    """

    name: ClassVar[str]
    folder: ClassVar[str]
    classes: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def marker(self, split: str) -> str:
        """A path in the data folder that exists when torchvision's files are there."""

    @abstractmethod
    def arrays(self, dataset: Any) -> tuple[NDArray[np.uint8], Any]:
        """Images [n,C,H,W] and labels [n] of an opened torchvision data set."""

    def arguments(self, split: str) -> dict[str, Any]:
        """The split as an argument of torchvision's class."""
        return {"train": split == "train"}

    def open(self, split: str, data_dir: Path | None, download: bool) -> Table:
        """Open `train` or `test`: torchvision's files, else Parquet's, else a download if asked.

        UserError when there is nothing to open, when files are broken or torchvision cannot be
        imported; RunError when the download fails.
        """
        from robbench.data.parquet import ParquetImages
        from robbench.data.shards import shards

        require_split(split)
        root = data_folder(data_dir)
        present = (root / self.marker(split)).exists()
        if not present and shards(root / self.folder).of(split):
            table = ParquetImages(dir=str((root / self.folder).absolute())).open(split, root, False)
            return self._with_usual_names(table)
        if not present and not download:
            places = f"{root / self.marker(split)} and {root / self.folder}/{split}*.parquet"
            similar = ", ".join(
                name
                for name in private_sets(root)
                if name.startswith(self.folder) and name != self.folder
            )
            there = f"; {root} has {similar}" if similar else ""
            raise UserError(
                f"no files: looked for {places}{there}; add --download, or point --data-dir at a "
                "folder that has one of them"
            )
        images, labels, classes = self._read(root, split, download)
        return Table(labels, classes, lambda rows: images[rows])

    def _read(
        self, root: Path, split: str, download: bool
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64], tuple[str, ...]]:
        _refuse_pipes(root / self.marker(split), root)
        dataset_class = _torchvision_dataset(self.name)
        try:
            # stdout carries results only, and torchvision has printed its progress there before.
            with contextlib.redirect_stdout(sys.stderr):
                dataset = dataset_class(root, download=download, **self.arguments(split))
            images, labels = self.arrays(dataset)
        except Exception as error:  # broken files end in pickle, struct, assertion, ... errors
            if download:
                raise RunError(
                    f"torchvision could not download it to {root} ({reason(error)})"
                ) from error
            where = root / self.marker(split)
            raise UserError(
                f"torchvision cannot read {where} ({reason(error)}); move it away and add "
                "--download"
            ) from error
        classes = self.classes or tuple(str(name) for name in dataset.classes)
        return np.ascontiguousarray(images), np.asarray(labels, np.int64), classes

    def _with_usual_names(self, table: Table) -> Table:
        # `T - shirt / top` (Hugging Face) is `T-shirt/top` (torchvision), and a nameless column
        # gets the names we know; but names that really differ are the truth about that file.
        if self.classes and [_plain(name) for name in table.classes] in (
            [_plain(n) for n in self.classes],
            list(_DIGITS),
        ):
            return replace(table, classes=self.classes)
        return table


@dataclass(frozen=True, kw_only=True)
class MNIST(_TorchvisionData):
    """MNIST (LeCun et al. 1998): 60,000 and 10,000 handwritten digits, 1x28x28."""

    threat: ClassVar[str | None] = "linf:0.3"
    name: ClassVar[str] = "MNIST"
    folder: ClassVar[str] = "mnist"
    classes: ClassVar[tuple[str, ...]] = _DIGITS

    def marker(self, split: str) -> str:
        """The raw training images: torchvision wants the files of both splits."""
        return f"{self.name}/raw/train-images-idx3-ubyte"

    def arrays(self, dataset: Any) -> tuple[NDArray[np.uint8], Any]:
        """[n,1,28,28] and labels."""
        return dataset.data.numpy()[:, None], dataset.targets


@dataclass(frozen=True, kw_only=True)
class FashionMNIST(MNIST):
    """Fashion-MNIST (Xiao et al. 2017): 60,000 and 10,000 articles of clothing, 1x28x28."""

    name: ClassVar[str] = "FashionMNIST"
    folder: ClassVar[str] = "fashion-mnist"
    classes: ClassVar[tuple[str, ...]] = (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    )


@dataclass(frozen=True, kw_only=True)
class CIFAR10(_TorchvisionData):
    """CIFAR-10 (Krizhevsky 2009): 50,000 and 10,000 photographs of 10 kinds of things, 3x32x32."""

    threat: ClassVar[str | None] = "linf:8/255"
    name: ClassVar[str] = "CIFAR10"
    folder: ClassVar[str] = "cifar10"
    classes: ClassVar[tuple[str, ...]] = (
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    )

    def marker(self, split: str) -> str:
        """The folder of the Python version of the set."""
        return "cifar-10-batches-py"

    def arrays(self, dataset: Any) -> tuple[NDArray[np.uint8], Any]:
        """[n,3,32,32] and labels."""
        return dataset.data.transpose(0, 3, 1, 2), dataset.targets


@dataclass(frozen=True, kw_only=True)
class CIFAR100(CIFAR10):
    """CIFAR-100 (Krizhevsky 2009): 50,000 + 10,000 photographs, 100 fine labels, 3x32x32."""

    name: ClassVar[str] = "CIFAR100"
    folder: ClassVar[str] = "cifar100"
    classes: ClassVar[tuple[str, ...]] = ()

    def marker(self, split: str) -> str:
        """The folder of the Python version of the set."""
        return "cifar-100-python"


@dataclass(frozen=True, kw_only=True)
class SVHN(_TorchvisionData):
    """Street View House Numbers (Netzer et al. 2011): 73,257 + 26,032 cropped digits, 3x32x32."""

    threat: ClassVar[str | None] = "linf:8/255"
    name: ClassVar[str] = "SVHN"
    folder: ClassVar[str] = "svhn"
    classes: ClassVar[tuple[str, ...]] = _DIGITS

    def marker(self, split: str) -> str:
        """One MATLAB file per split."""
        return f"{split}_32x32.mat"

    def arguments(self, split: str) -> dict[str, Any]:
        """SVHN takes the split by name."""
        return {"split": split}

    def arrays(self, dataset: Any) -> tuple[NDArray[np.uint8], Any]:
        """[n,3,32,32] and labels."""
        return dataset.data, dataset.labels


def _refuse_pipes(marker: Path, root: Path) -> None:
    """UserError for a FIFO or device among the files of a set: opening one can wait for ever."""
    folder = marker if marker.is_dir() else marker.parent
    for path in [marker] if folder == root else folder.glob("*"):
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise UserError(f"{path} is no regular file; remove it")


def _torchvision_dataset(name: str) -> Any:
    try:
        import torchvision.datasets
    except Exception as error:  # built for another torch: RuntimeError or OSError, not ImportError
        raise UserError(
            f"torchvision cannot be imported ({reason(error)}); run `robbench doctor` for the fix"
        ) from error
    return getattr(torchvision.datasets, name)


def _plain(name: str) -> str:
    return "".join(char for char in name.lower() if char.isalnum())
