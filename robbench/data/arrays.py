"""Images as arrays: which axis holds the channels, which value is white, and what is no image."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robbench.core.errors import UserError

_CHANNELS = 4  # an axis of at most so many entries can be that of the channels


def channels_last(shape: tuple[int, ...]) -> bool | None:
    """Whether images of shape [N,*,*,*] are [N,H,W,C]; None where both are possible, or neither."""
    first, last = shape[1] <= _CHANNELS, shape[3] <= _CHANNELS
    return None if first == last else last


def white_of(images: NDArray[Any]) -> int | None:
    """The value of white: 255 of bytes, 1 of booleans and of floats up to 1; None if uncertain.

    Bytes of only 0 and 1 are uncertain. Other numbers are 8-bit ones, with white 255, where they
    are images of whole numbers whose largest is from 128 to 255.
    """
    if images.dtype == np.bool_:
        return 1
    if not images.size or images.dtype.kind not in "uif":
        return None
    largest = float(images.max())
    if images.dtype == np.uint8:
        return 255 if largest > 1 else None
    if images.dtype.kind == "f" and not largest > 1:
        return 1
    whole = images.ndim > 2 and 128 <= largest <= 255 and images.min() >= 0
    return 255 if whole and bool((images == np.floor(images)).all()) else None


def uncertain_white(images: NDArray[Any], remedy: str) -> UserError:
    """The error for images of which `white_of` is None; remedy: how it is said which is white."""
    low, high = float(images.min()), float(images.max())
    return UserError(
        f"values are {images.dtype} from {low:g} to {high:g}: say which is white (or the largest), "
        f"{remedy}"
    )


class Pixels(NamedTuple):
    """Images [N,C,H,W] or [N,D] of numbers whose `white` is 1 for a model; bytes stay bytes."""

    images: NDArray[Any]
    white: float
    whole: bool  # all are whole numbers from 0 to 255, as `white` is: kept as bytes

    @property
    def scale(self) -> int:
        """As of a Table."""
        return int(self.white) if self.whole else 255

    def rows(self, index: NDArray[np.int64] | slice) -> NDArray[Any]:
        """The images at `index`, uint8 up to `scale` or float32."""
        chosen = self.images[index]
        if self.whole:
            return chosen.astype(np.uint8, copy=False)
        return (chosen if self.white == 1 else chosen / np.float64(self.white)).astype(np.float32)


def pixels_of(images: NDArray[Any], white: float) -> Pixels:
    """Images under a scale. What they hold beyond it is found when they are decoded."""
    whole = white.is_integer() and white <= 255 and _are_bytes(images)
    # Floats up to 1 are not made bytes: black and white ones are floats as all others.
    return Pixels(images, white, whole and not (white == 1 and images.dtype.kind == "f"))


def _are_bytes(images: NDArray[Any]) -> bool:
    if images.dtype in (np.uint8, np.bool_) or not images.size:
        return True
    inside = images.min() >= 0 and images.max() <= 255
    return bool(inside) and (images.dtype.kind in "iu" or bool((images == np.floor(images)).all()))


def checked_images(images: NDArray[Any], rows: int, scale: int) -> NDArray[Any]:
    """Images [rows,C,H,W] or [rows,D] as contiguous uint8, up to `scale`, or float32 in [0,1].

    Raises UserError for another shape or type, and for pixels outside of that range.
    """
    if len(images) != rows or images.ndim not in (2, 4) or 0 in images.shape:
        raise UserError(f"images have shape {images.shape}; should be ({rows},C,H,W) or ({rows},D)")
    if images.dtype == np.uint8:
        if (largest := int(images.max())) > scale:
            raise UserError(
                f"a pixel is {largest}, above the scale {scale}; give the value of white as scale"
            )
        return np.ascontiguousarray(images)
    if images.dtype not in (np.float16, np.float32, np.float64):
        raise UserError(f"images are {images.dtype}; should be uint8, or float32 in [0,1]")
    if not np.isfinite(images).all():
        bad = int(np.flatnonzero(~np.isfinite(images).reshape(rows, -1).all(1))[0])
        raise UserError(f"image {bad} contains NaN or infinity; remove or fix it")
    low, high = float(images.min()), float(images.max())
    if low < 0 or high > 1:
        if images.ndim == 2:
            raise UserError(
                f"features range from {low:.4g} to {high:.4g}; should be in [0,1]: scale each by "
                "its range in the training data (box=train does for npz: and npy:), and scale back "
                "inside the model"
            )
        raise UserError(
            f"pixels range from {low:.4g} to {high:.4g}; float images should be in [0,1]: "
            "divide by the value of white, and normalise inside the model"
        )
    return np.ascontiguousarray(images, dtype=np.float32)
