"""Images in folders: DIR/{split}/<class>/<file>."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from robbench.core.errors import UserError
from robbench.data.base import Data, Table, data_folder
from robbench.data.images import decode_image, stack_images

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".ppm", ".pgm", ".tif", ".tiff"})


@dataclass(frozen=True, kw_only=True)
class ImageFolder(Data):
    """A folder of image files, DIR/{split}/<class>/*.png|jpg|..., in the layout of torchvision's ImageFolder, read as RGB.

    Classes are the sorted names of the sub-folders of all splits together, so that a class keeps its label where one split
    lacks it. Rows are ordered by class, then by file name: take `[stratified=N]` rather than `[first=N]` of them.
    """

    argument: ClassVar[str] = "dir"

    dir: Annotated[
        str, Field(min_length=1, description="folder with one sub-folder per split; relative to here or the data folder")
    ]
    size: Annotated[
        int, Field(ge=0, description="scale the shorter side to this and crop the centre; 0 takes images as they are")
    ] = 0

    def open(self, split: str, data_dir: Path | None, download: bool) -> Table:
        """List the files of a split; images are decoded later. UserError when the folder, split or files are missing."""
        root = find_folder(self.dir, data_dir)
        splits = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
        if split not in splits:
            raise UserError(f"{root} has no sub-folder '{split}'; it has: {', '.join(splits[:9]) or 'none'}")
        classes = sorted({path.name for name in splits for path in _classes(root / name)})
        rows = [
            (path, classes.index(folder.name))
            for folder in _classes(root / split)
            for path in sorted(folder.iterdir())
            if path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")
        ]
        if not rows:
            raise UserError(
                f"no images in {root / split}; it should hold one sub-folder per class with {', '.join(sorted(_SUFFIXES))}"
            )
        paths = [path for path, _ in rows]

        def decode(index: NDArray[np.int64]) -> NDArray[np.uint8]:
            chosen = [paths[i] for i in index]
            images = [_as_rgb(decode_image(path, str(path), size=self.size)) for path in chosen]
            return stack_images(images, [str(path) for path in chosen], hint="set size=N, for example folder:DIR,size=32")

        return Table(np.array([label for _, label in rows], np.int64), tuple(classes), decode)


def find_folder(name: str, data_dir: Path | None) -> Path:
    """A folder relative to the working folder, else to the data folder. UserError that says where it looked."""
    given = Path(name).expanduser()
    places = [given] if given.is_absolute() else [given, data_folder(data_dir) / given]
    for place in places:
        if place.is_dir():
            return place
    raise UserError(f"no folder {' and no folder '.join(str(place.absolute()) for place in places)}")


def _classes(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _as_rgb(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(image, 3, axis=0) if image.shape[0] == 1 else image
