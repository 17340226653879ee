"""Folders and Parquet files of images: shared options, the names of splits and classes."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from PIL import Image
from pydantic import Field

from robbench.core.errors import UserError
from robbench.data.base import Data
from robbench.data.data_folder import data_folder

# The splits that are looked at for classes, besides the one asked for: a class keeps its label
# where one split lacks it.
USUAL_SPLITS = ("train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval")
SIZE_HINT = "set size=N, or resize=N,crop=N"

_SIDE = Field(ge=0, le=100_000)


@dataclass(frozen=True, kw_only=True)
class ImageFiles(Data):
    """Encoded images in files: their paths and how each is decoded."""

    argument: ClassVar[str] = "dir"

    dir: Annotated[
        str, Field(min_length=1, description="the folder; relative to here or the data folder")
    ]
    size: Annotated[
        int,
        _SIDE,
        Field(
            description=(
                "scale the shorter side to this and crop the centre; 0 leaves images as they are"
            )
        ),
    ] = 0
    resize: Annotated[
        int,
        _SIDE,
        Field(description="scale the shorter side to this, as torchvision's Resize; 0 does not"),
    ] = 0
    crop: Annotated[
        int,
        _SIDE,
        Field(
            description="cut this square from the centre, as torchvision's CenterCrop; 0 does not"
        ),
    ] = 0
    squash: Annotated[
        bool,
        Field(
            description=(
                "scale both sides to size or resize, whatever the aspect, as timm's "
                "crop_mode=squash"
            )
        ),
    ] = False
    filter: Annotated[
        Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"],
        Field(description="how pixels are scaled"),
    ] = "bilinear"
    channels: Annotated[
        Literal["auto", "1", "3"],
        Field(description="1 for grey, 3 for RGB; auto is 1 where all images are grey"),
    ] = "auto"

    def __post_init__(self) -> None:
        if self.size and self.crop:
            raise UserError("size=N crops to N already; give size or crop")
        if self.squash and not (self.size or self.resize):
            raise UserError("squash=true scales nothing by itself; add size=N or resize=N")

    @property
    def wanted_channels(self) -> int | None:
        """The number of channels that was asked for."""
        return None if self.channels == "auto" else int(self.channels)

    def prepare(self, image: Image.Image) -> Image.Image:
        """One decoded image (mode L or RGB) in the colours and size asked for."""
        if self.channels != "auto":
            image = image.convert("L" if self.channels == "1" else "RGB")
        sampling = Image.Resampling[self.filter.upper()]
        if self.squash:
            side = self.resize or self.size
            image = _scaled(image, (side, side), sampling)
        elif self.size and not self.resize:
            return _square(image, self.size, sampling)
        elif self.resize:
            short, long = min(image.size), max(image.size)
            other = int(self.resize * long / short)
            image = _scaled(
                image,
                (self.resize, other) if image.width == short else (other, self.resize),
                sampling,
            )
        return _centre(image, self.crop or self.size) if self.crop or self.size else image


def find_folder(name: str, data_dir: Path | None) -> Path:
    """A folder in the working folder, else in the data folder. UserError if in neither."""
    try:
        given = Path(name).expanduser()
        places = [given] if given.is_absolute() else [given, data_folder(data_dir) / given]
        for place in places:
            if place.is_dir():
                return place
    except (OSError, RuntimeError) as error:  # a name too long, the home of an unknown user
        raise UserError(
            f"'{name[:80]}' cannot be a folder's name here ({type(error).__name__})"
        ) from error
    raise UserError(
        f"no folder {' and no folder '.join(str(place.absolute()) for place in places)}"
    )


def find_file(name: str, root: Path) -> Path:
    """A file in the working folder, else in a data set's. UserError if in neither."""
    found = next((p for p in (Path(name).expanduser(), root / name) if p.is_file()), None)
    if found is None:
        raise UserError(f"no file '{name[:100]}', neither here nor in {root}")
    return found


def class_name(name: str) -> str:
    r"""A name as text that can be written anywhere: composed, non-UTF-8 bytes as `\xe9`."""
    return unicodedata.normalize(
        "NFC", name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    )


def in_order(names: Iterable[str]) -> list[str]:
    """Class names sorted as text, or as numbers when all of them are numbers: 0, 1, 2, 10."""
    different = set(names)
    if all(re.fullmatch(r"[0-9]{1,4000}", name) for name in different):
        return sorted(different, key=lambda name: (int(name), name))
    return sorted(different)


def listed(names: Iterable[str], most: int = 9) -> str:
    """`a, b, c`, cut off after some."""
    every = list(names)
    return ", ".join(every[:most]) + (f", ... ({len(every)})" if len(every) > most else "")


def _square(image: Image.Image, size: int, sampling: Image.Resampling) -> Image.Image:
    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    return _scaled(image, (width, height), sampling).crop((left, top, left + size, top + size))


def _scaled(image: Image.Image, size: tuple[int, int], sampling: Image.Resampling) -> Image.Image:
    if size[0] * size[1] > (most := Image.MAX_IMAGE_PIXELS or math.inf):
        raise UserError(
            f"the image is {image.width}x{image.height}; scaled it would have more than {most:,} "
            "pixels: cut it"
        )
    return image.resize(size, sampling)


def _centre(image: Image.Image, side: int) -> Image.Image:
    if side > min(image.size):
        raise UserError(
            f"the image is {image.width}x{image.height}, smaller than the crop of {side}; add "
            f"resize={side} or more"
        )
    left, top = (round((length - side) / 2) for length in image.size)
    return image.crop((left, top, left + side, top + side))
