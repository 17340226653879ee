"""Images in folders: DIR/{split}/<class>/<file>."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from robbench.core.errors import UserError
from robbench.core.threads import in_threads
from robbench.data.base import Table
from robbench.data.file_list import Image, listed_images
from robbench.data.image_files import (
    SIZE_HINT,
    USUAL_SPLITS,
    ImageFiles,
    class_name,
    find_file,
    find_folder,
    in_order,
    listed,
)
from robbench.data.images import decode_image, kinds, stack_images

_SUFFIXES = frozenset(
    {
        ".png",
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".bmp",
        ".webp",
        ".gif",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".tif",
        ".tiff",
    }
)
_NO_DATA = ("__MACOSX", "@eaDir")  # what archives of a Mac and network drives add
_LOOKED_AT = 2000  # headers read to tell grey from colour


@dataclass(frozen=True, kw_only=True)
class ImageFolder(ImageFiles):
    """A folder of image files, DIR/{split}/<class>/*.png|jpg|..., as torchvision's ImageFolder.

    A class is a sub-folder with images in it, at any depth; hidden folders and files do not count.
    Classes are sorted by name (by number where all names are numbers), over the usual splits
    together, so that a class keeps its label where one split lacks it. Rows are ordered by class,
    then by file name: take `[stratified=N]` rather than `[first=N]` of them. Images that are all
    grey have one channel, others three. The EXIF orientation is applied; transparency is laid on
    white. With `list` the rows are the images that a file names, in its order: one a line, its path
    in DIR/{split} or its file name, and, where it lies in no class folder, a comma and its class.
    """

    list: Annotated[
        str, Field(description="a file that names the images to use, one a line; empty is all")
    ] = ""

    def open(self, split: str, data_dir: Path | None, download: bool) -> Table:
        """List the files of a split, to be decoded later. UserError when there are none."""
        root = find_folder(self.dir, data_dir)
        splits = sorted(entry.name for entry in _entries(root) if entry.is_dir())
        if split not in splits:
            raise UserError(
                f"{root} has no sub-folder '{split}'; it has: {listed(splits) or 'none'}"
            )
        found = {
            name: _class_folders(root / name) for name in splits if name in {split, *USUAL_SPLITS}
        }
        folders, empty = found[split]
        images: list[Image] = []
        ignored: Counter[str] = Counter()
        for folder in sorted(folders):
            files = list(_files(folder))
            images += [Image(path, class_name(folder.name)) for path in files if _is_image(path)]
            ignored.update(
                path.suffix.lower() or path.name for path in files if not _is_image(path)
            )
        loose = [
            Path(entry.path)
            for entry in _entries(root / split)
            if entry.is_file() and _is_image(Path(entry.name))
        ]
        names = {class_name(folder.name) for folders, _ in found.values() for folder in folders}
        if self.list:
            file = find_file(self.list, root)
            images += [Image(path, None) for path in loose]
            images, loose = listed_images(file, root / split, images), []
            names |= {str(image.label) for image in images}
        if not images:
            raise UserError(
                _nothing(root / split, len(loose), [name for name in found if found[name][0]])
            )
        classes = in_order(names)
        number = {name: i for i, name in enumerate(classes)}
        if not self.list:
            images.sort(key=lambda image: number[str(image.label)])
        paths = [image.path for image in images]
        trained, _ = found.get("train", ({}, []))
        unknown = sorted(
            {class_name(folder.name) for folder in folders}
            - {class_name(folder.name) for folder in trained}
        )
        notes = [
            f"classes that the split train lacks: {listed(unknown)}" if trained and unknown else "",
            f"{len(loose)} images are outside the class folders: left out" if loose else "",
            f"folders without images are no classes: {listed(empty)}" if empty else "",
            f"files that are no images by their name are left out: {ignored.total()} "
            f"({listed(sorted(ignored))})"
            if ignored
            else "",
        ]
        channels = self.wanted_channels
        if channels is None:
            others = chain.from_iterable(
                folders.values() for name, (folders, _) in found.items() if name != split
            )
            kind = kinds(chain(paths[:: 1 + len(paths) // _LOOKED_AT], others))
            channels = 1 if kind == {"grey"} else 3
            notes += (
                ["all images are grey: one channel (channels=3 makes three)"]
                if channels == 1
                else []
            )
            notes += (
                [
                    "some images are grey, some coloured: all are read as RGB (channels=1 makes "
                    "all grey)"
                ]
                if len(kind) > 1
                else []
            )

        def decode(index: NDArray[np.int64]) -> NDArray[np.uint8]:
            files = [paths[i] for i in index]
            images = in_threads(lambda path: decode_image(path, str(path), self.prepare), files)
            return stack_images(
                zip(range(len(files)), images, map(str, files), strict=True),
                len(index),
                channels=channels,
                hint=f"{SIZE_HINT}, for example folder:DIR,size=32",
            )

        labels = np.array([number[str(image.label)] for image in images], np.int64)
        return Table(labels, tuple(classes), decode, notes=tuple(filter(None, notes)), lazy=True)


def _class_folders(folder: Path) -> tuple[dict[Path, Path], list[str]]:
    """The sub-folders with images, each with its first one, and the names of the others."""
    inner = [Path(entry.path) for entry in _entries(folder) if entry.is_dir()]
    first = {path: next((file for file in _files(path) if _is_image(file)), None) for path in inner}
    return {path: file for path, file in first.items() if file}, [
        path.name for path, file in first.items() if not file
    ]


def _files(folder: Path) -> Iterator[Path]:
    """The regular files in a folder, then in its sub-folders, sorted; loops are entered once."""
    waiting, seen = [folder], set()
    while waiting:
        here = waiting.pop()
        state = here.stat()
        if (state.st_dev, state.st_ino) in seen:
            continue
        seen.add((state.st_dev, state.st_ino))
        entries = _entries(here)
        yield from (Path(entry.path) for entry in entries if entry.is_file())
        waiting += [Path(entry.path) for entry in reversed(entries) if entry.is_dir()]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as found:
        entries = [
            entry
            for entry in found
            if not entry.name.startswith(".") and entry.name not in _NO_DATA
        ]
    return sorted(entries, key=lambda entry: entry.name)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in _SUFFIXES


def _nothing(folder: Path, loose: int, labelled: list[str]) -> str:
    others = f"; splits with labels: {', '.join(labelled)}" if labelled else ""
    if loose:
        return (
            f"{folder} has {loose} images but no class folders, so no labels{others}; a file of "
            "names and labels goes in list=FILE"
        )
    suffixes = ", ".join(sorted(_SUFFIXES))
    return f"no images in {folder}; it should hold one sub-folder per class with {suffixes}{others}"
