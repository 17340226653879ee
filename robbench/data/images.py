"""Encoded image files to uint8 arrays, with errors that name the file or row."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from robbench.core.errors import UserError
from robbench.data.base import reason

_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")  # no more: reading EPS starts Ghostscript
_GRAY = ("L", "1", "LA", "La")


def decode_image(source: bytes | Path, where: str, *, size: int = 0) -> NDArray[np.uint8]:
    """One PNG, JPEG, ... as [1,H,W] when it is gray, else [3,H,W]; transparency is dropped.

    `size` > 0 scales the shorter side to that many pixels and crops the centre. UserError, naming `where`, when the bytes
    are no image, are cut off, or have more than 8 bits per channel.
    """
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=_FORMATS) as opened:
            if opened.mode in ("I", "F") or opened.mode.startswith("I;"):
                raise UserError(f"{where}: the image has more than 8 bits per channel (mode {opened.mode}); convert it to 8 bits")
            image = opened.convert("L" if opened.mode in _GRAY else "RGB")
    except UserError:
        raise
    except Exception as error:  # Pillow's format plug-ins raise whatever a broken file makes them stumble over
        text = reason(error) if isinstance(source, Path) else type(error).__name__  # the other text is a memory address
        raise UserError(f"{where}: not a readable image ({text}); replace or remove it") from error
    if size:
        image = _resize_and_crop(image, size)
    pixels: NDArray[np.uint8] = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def stack_images(images: Sequence[NDArray[np.uint8]], where: Sequence[str], *, hint: str) -> NDArray[np.uint8]:
    """[N,C,H,W] of equally large images; gray ones among coloured ones get three equal channels.

    UserError with the first two that differ in size, followed by `hint`.
    """
    first = images[0].shape[1:]
    for image, name in zip(images, where, strict=True):
        if image.shape[1:] != first:
            sizes = f"{first[1]}x{first[0]} ({where[0]}) and {image.shape[2]}x{image.shape[1]} ({name})"
            raise UserError(f"the images differ in size: {sizes}; {hint}")
    if len({image.shape[0] for image in images}) > 1:
        images = [np.repeat(image, 3, axis=0) if image.shape[0] == 1 else image for image in images]
    return np.stack(images)


def _resize_and_crop(image: Image.Image, size: int) -> Image.Image:
    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    return resized.crop((left, top, left + size, top + size))
