"""Encoded image files to uint8 arrays, with errors that name the file or row."""

from __future__ import annotations

import io
import logging
import math
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from robbench.core.errors import UserError
from robbench.data.base import reason

# Pillow knows more formats; some of them start other programs (EPS starts Ghostscript).
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
_GREY = ("1", "L", "LA", "La", "I", "F")
_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
# What Pillow logs of broken files is in our error.
logging.getLogger("PIL").addHandler(logging.NullHandler())


def _hush() -> None:
    """Let no warning of Pillow's out: what matters of a damaged file ends in an error.

    For good, because `catch_warnings` is not safe while several threads decode.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")


def open_image(source: bytes | Path) -> Image.Image:
    """Open one image without decoding it. Raises what Pillow raises, also for impossible sizes."""
    _hush()
    image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS)
    if image.width * image.height > (Image.MAX_IMAGE_PIXELS or math.inf):
        image.close()
        raise Image.DecompressionBombError
    return image


def decode_image(
    source: bytes | Path, where: str, prepare: Callable[[Image.Image], Image.Image] | None = None
) -> NDArray[np.uint8]:
    """One PNG, JPEG, ... as [1,H,W] when it is grey, else [3,H,W].

    The EXIF orientation is applied, transparency is laid on white, 16-bit grey is scaled to 8 bits,
    16-bit colour keeps its high bytes. Of several frames or pages the first counts.
    `prepare` changes the image (mode L or RGB) before it becomes an array. UserError, naming
    `where`, when the bytes are no image, are cut off, declare a huge size, or hold 32-bit numbers.
    """
    try:
        with open_image(source) as opened:
            opened.load()
            image = _plain(_upright(opened), opened, where)
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        raise UserError(
            f"{where}: the image declares more than {Image.MAX_IMAGE_PIXELS:,} pixels; make it "
            "smaller"
        ) from error
    except Exception as error:  # Pillow's plug-ins raise anything on a broken file
        text = reason(error)
        if "BytesIO" in text:  # a memory address
            text = type(error).__name__
        raise UserError(f"{where}: not a readable image ({text}); replace or remove it") from error
    if prepare is not None:
        try:
            image = prepare(image)
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
    return _channels_first(image)


def picture_pixels(image: Image.Image) -> NDArray[np.uint8]:
    """A picture in memory as `decode_image` has one of a file, but turned as it is."""
    return _channels_first(_plain(image, image, "a picture"))


def is_grey(image: Image.Image) -> bool:
    """Whether an image has one channel, transparency aside; palettes of greys have one."""
    if image.mode in ("P", "PA"):
        palette = np.array(image.getpalette() or [0, 0, 0]).reshape(-1, 3)
        return bool((palette == palette[:, :1]).all())
    return image.mode in _GREY or image.mode.startswith("I;16")


def kinds(sources: Iterable[bytes | Path]) -> set[str]:
    """Which of `grey` and `colour` occur, by the headers up to the first of both."""
    found: set[str] = set()
    for source in sources:
        try:
            with open_image(source) as image:
                found.add("grey" if is_grey(image) else "colour")
        except Exception:  # it is reported when, and if, it is decoded
            continue
        if len(found) == 2:
            break
    return found


def stack_images(
    images: Iterable[tuple[int, NDArray[np.uint8], str]],
    count: int,
    *,
    channels: int | None,
    hint: str,
) -> NDArray[np.uint8]:
    """[N,C,H,W] of N = `count` equally large images, given as (position, image, name).

    With `channels` 3, or where a coloured image is among them, grey ones get three equal channels.
    UserError with two that differ in size, followed by `hint`.
    """
    stack: NDArray[Any] | None = None
    first = ""
    for position, image, name in images:
        if stack is None:
            stack, first = (
                np.empty((count, max(channels or 1, len(image)), *image.shape[1:]), np.uint8),
                name,
            )
        elif image.shape[1:] != stack.shape[2:]:
            one = f"{stack.shape[3]}x{stack.shape[2]} ({first})"
            sizes = f"{one} and {image.shape[2]}x{image.shape[1]} ({name})"
            raise UserError(f"the images differ in size: {sizes}; {hint}")
        elif len(image) > stack.shape[1]:
            stack = np.repeat(stack, 3, axis=1)
        stack[position] = image
    assert stack is not None  # a selection is never empty
    return stack


def _channels_first(image: Image.Image) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _plain(image: Image.Image, opened: Image.Image, where: str) -> Image.Image:
    """The image in mode L or RGB; UserError for 32-bit numbers. opened: as it came."""
    wide = opened.mode.startswith("I;16") or (
        opened.mode == "I" and opened.format in ("PNG", "PPM")
    )
    if opened.mode in ("I", "F") and not wide:
        raise UserError(
            f"{where}: the image has 32 bits per channel (mode {opened.mode}), whose white is "
            "unknown; convert it to 8 or 16 bits"
        )
    return _narrow(image, opened.info.get("transparency")) if wide else _opaque(image)


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a damaged tag says nothing about the pixels
        return image


def _narrow(image: Image.Image, transparent: int | None) -> Image.Image:
    """16-bit grey as 8-bit grey; the one value that is transparent, if any, is white."""
    wide = np.asarray(image).astype(np.uint32)
    wide[wide == transparent] = 65535
    return Image.fromarray(((wide * 255 + 32767) // 65535).astype(np.uint8))


def _opaque(image: Image.Image) -> Image.Image:
    """The image in mode L or RGB, on white where it is transparent."""
    mode = "L" if is_grey(image) else "RGB"
    if image.mode not in _ALPHA and "transparency" not in image.info:
        return (
            image.convert("RGB").convert("L")
            if mode == "L" and image.mode == "P"
            else image.convert(mode)
        )
    pixels = np.asarray(
        image.convert("LA").convert("RGBA") if image.mode == "La" else image.convert("RGBA")
    ).astype(np.uint16)
    colour, alpha = pixels[..., :3], pixels[..., 3:]
    flat = Image.fromarray(((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8))
    return flat.convert(mode)
