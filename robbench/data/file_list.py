"""A file that names images, line by line: which of a folder's are used, in which order, as what."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from robbench.core.errors import UserError
from robbench.data.image_files import class_name

_BOXES = re.compile(r"(n\d{8})(?:\s+\d+)+")  # a WordNet id and boxes, as in Kaggle's ImageNet


class Image(NamedTuple):
    """An image file and its class; None where it lies in no class folder."""

    path: Path
    label: str | None


class _Names:
    """Images by their path in a folder, by file name, and by that without its suffix."""

    def __init__(self, root: Path, images: Iterable[Image]) -> None:
        self.split = root.name
        self.by_path: dict[str, Image] = {}
        self.by_name: dict[str, list[Image]] = defaultdict(list)
        for image in images:
            self.by_path[image.path.relative_to(root).as_posix()] = image
            for name in {image.path.name, image.path.stem}:
                self.by_name[name].append(image)

    def find(self, name: str) -> list[Image]:
        """The images of a name; `SPLIT/` may be in front of a path."""
        inside = self._inside(name)
        if (path := inside.as_posix()) in self.by_path:
            return [self.by_path[path]]
        folders = {class_name(part) for part in inside.parts[:-1]}
        return [
            image
            for image in self.by_name.get(inside.name, [])
            if not folders or image.label is None or image.label in folders
        ]

    def label(self, name: str) -> str | None:
        """The folder that a name puts its file in."""
        parts = self._inside(name).parts
        return class_name(parts[-2]) if len(parts) > 1 and parts[-2] != self.split else None

    def _inside(self, name: str) -> PurePosixPath:
        return PurePosixPath(name.removeprefix("./").removeprefix(f"{self.split}/"))


def listed_images(file: Path, root: Path, images: Iterable[Image]) -> list[Image]:
    """The images of the folder `root` that a file names, in its order, each with its class.

    A line is a path in the folder, or a file name with or without its suffix; a comma or a space
    and the class may follow. The first line of a .csv file may be a heading. UserError for names
    that are not there, that several files have or that come twice, and for a class that is missing
    or another one than the folder's.
    """
    names = _Names(root, images)
    found: dict[Path, Image] = {}
    unknown: list[str] = []
    for number, line in enumerate(_lines(file), 1):
        where = f"line {number} of {file}"
        if not line:
            continue
        name, given = _parted(line, names)
        there = names.find(name)
        if not there:
            if not (number == 1 and file.suffix == ".csv"):
                unknown.append(f"'{name[:100]}' (line {number})")
            continue
        if len(there) > 1:
            raise UserError(
                f"{where}: {len(there)} images are called '{name}', among them {there[0].path} and "
                f"{there[1].path}; give the path in the folder"
            )
        (image,) = there
        label = given or image.label or names.label(name)
        if label is None:
            raise UserError(
                f"{where}: '{name}' lies in no class folder, so it has no label; write {name},LABEL"
            )
        if image.label is not None and label != image.label:
            raise UserError(f"{where}: the class is '{label}', but {image.path} is in another one")
        if image.path in found:
            raise UserError(f"{where} names {image.path} again; leave it out")
        found[image.path] = Image(image.path, label)
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise UserError(f"{file} names images that {root} does not have: {unknown[0]}{more}")
    if not found:
        raise UserError(f"{file} names no images")
    return list(found.values())


def _parted(line: str, names: _Names) -> tuple[str, str | None]:
    """Name and class of a line; a name alone may have commas and spaces in it."""
    if names.find(line):
        return line, None
    name, comma, label = line.partition(",")
    if not comma:
        name, _, label = line.rpartition(" ") if " " in line else (line, "", "")
    label = label.strip()
    if boxes := _BOXES.fullmatch(label):
        label = boxes[1]
    return name.strip(), class_name(label) or None


def _lines(file: Path) -> list[str]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise UserError(f"the list {file} cannot be read ({type(error).__name__})") from error
    return [line.strip().replace("\t", " ") for line in text.splitlines()]
