"""IDBH, augmentation for adversarial training: Li and Spratling 2023, arXiv:2301.09879 (ICLR).

In this order: every second image mirrored; CropShift, which cuts m of the pixels off, s of them at
the sides and m - s above and below, and puts what is left somewhere in a black frame; one of eight
transforms; a rectangle erased.

Certain (the authors' code for CropShift and the transforms, its copy in that of Wang et al. 2023
for the rest): m uniform in 0..10 and s in 0..m at 32x32; each transform with probability 1/8 and
the ranges below, signs and axes at random; torchvision's RandomErasing with zeros, at half of the
images in the weak form and at all in the strong one.

Our choice: m grows with the shorter side; floats in [0,1] where the authors have bytes (equalize
alone rounds, to 256 levels); each number is drawn from the sample's key, so that an image does not
depend on its batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from robbench.core import keyed

ERASED = {"idbh-weak": 0.5, "idbh-strong": 1.0}
"""The share of the images of which a rectangle is erased, by the name of the augmentation."""

TRANSFORMS = (
    "colour",
    "brightness",
    "contrast",
    "sharpness",
    "autocontrast",
    "equalize",
    "shear",
    "rotate",
)

_FACTORS = {
    "colour": (0.1, 1.9),
    "brightness": (0.5, 1.9),
    "contrast": (0.5, 1.9),
    "sharpness": (0.1, 1.9),
}
_SHEAR = (0.05, 0.15)  # radians
_ROTATE = (1, 10)  # degrees, whole numbers
_CROP = 10 / 32  # of the shorter side at most
_AREA, _LOG_ASPECT, _TRIES = (0.02, 0.33), math.log(3.3), 10  # of RandomErasing
_DRAWS = 12
_PURPOSE = 0x1DB4  # else an attack would draw the same numbers


def idbh(x: Tensor, key: Tensor, erased: float) -> Tensor:
    """Images x [B,C,H,W] in [0,1], grey or RGB, as their keys [B] change them."""
    key = keyed.fold(key, _PURPOSE)
    u = keyed.uniform(key, (_DRAWS,))
    x = torch.where(u[:, 0, None, None, None] < 0.5, x.flip(-1), x)
    x = crop_shift(x, u[:, 1:7])
    kind = (u[:, 7] * len(TRANSFORMS)).long()
    for number, name in enumerate(TRANSFORMS):
        rows = (kind == number).nonzero()[:, 0]
        if len(rows):
            x = x.index_copy(0, rows, transformed(name, x[rows], u[rows, 8:11]))
    blank = rectangle(keyed.uniform(key, (_TRIES, 4), counter=1), *x.shape[-2:])
    return x.masked_fill(blank & (u[:, 11, None, None, None] < erased), 0.0)


def crop_shift(x: Tensor, u: Tensor) -> Tensor:
    """CropShift of images [B,C,H,W] by uniform numbers u [B,6]."""
    height, width = x.shape[-2:]
    most = int(min(height, width) * _CROP)
    both = _whole(u[:, 0], most)
    across = _whole(u[:, 1], both)
    rows, kept_rows = _shifted(height, both - across, u[:, 2], u[:, 3])
    columns, kept_columns = _shifted(width, across, u[:, 4], u[:, 5])
    kept = kept_rows[:, None, :, None] & kept_columns[:, None, None, :]
    return torch.where(kept, _at(x, rows[:, :, None], columns[:, None, :]), 0.0)


def transformed(name: str, x: Tensor, u: Tensor) -> Tensor:
    """One of TRANSFORMS, by uniform numbers u [B,3]: its strength, its sign and its axis."""
    from torchvision.transforms.v2 import functional as F

    if name == "autocontrast":
        return F.autocontrast(x)  # type: ignore[no-any-return]
    if name == "equalize":
        return F.equalize(x)  # type: ignore[no-any-return]
    sign = torch.where(u[:, 1] < 0.5, -1.0, 1.0)
    if name == "shear":
        slope = sign * torch.tan(_between(u[:, 0], *_SHEAR))
        flat = torch.zeros_like(slope)
        sideways = u[:, 2] < 0.5
        return moved(
            x, 1 + flat, torch.where(sideways, slope, flat), torch.where(sideways, flat, slope)
        )
    if name == "rotate":
        low, high = _ROTATE
        angle = torch.deg2rad(sign * (low + _whole(u[:, 0], high - low)))
        return moved(x, torch.cos(angle), -torch.sin(angle), torch.sin(angle))
    factor = _between(u[:, 0], *_FACTORS[name])[:, None, None, None]
    return (factor * x + (1 - factor) * _WITHOUT[name](x)).clamp(0, 1)


def moved(x: Tensor, straight: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """Images whose pixel (c, r), from the centre, is that nearest to the one given here, or black.

    At (straight c + right r, down c + straight r), each [B].
    """
    height, width = x.shape[-2:]
    c = torch.arange(width, device=x.device) - (width - 1) / 2
    r = (torch.arange(height, device=x.device) - (height - 1) / 2)[:, None]
    a, b, d = (part[:, None, None] for part in (straight, right, down))
    columns = (a * c + b * r + (width - 1) / 2).round().long()
    rows = (d * c + a * r + (height - 1) / 2).round().long()
    there = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    found = _at(x, rows.clamp(0, height - 1), columns.clamp(0, width - 1))
    return torch.where(there[:, None], found, 0.0)


def rectangle(u: Tensor, height: int, width: int) -> Tensor:
    """[B,1,H,W] bool: the first rectangle of RandomErasing's tries u [B,n,4] that fits."""
    area = height * width * _between(u[..., 0], *_AREA)
    aspect = torch.exp(_between(u[..., 1], math.log(0.3), _LOG_ASPECT))
    tall, wide = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (tall < height) & (wide < width)
    first = fits.to(torch.int8).argmax(1, keepdim=True)
    tall, wide, any_fits, top, left = (
        part.gather(1, first)[:, :, None, None] for part in (tall, wide, fits, u[..., 2], u[..., 3])
    )
    top, left = _whole(top, height - tall), _whole(left, width - wide)
    r = torch.arange(height, device=u.device)[:, None]
    c = torch.arange(width, device=u.device)
    return any_fits & (r >= top) & (r < top + tall) & (c >= left) & (c < left + wide)


def _grey(x: Tensor) -> Tensor:
    from torchvision.transforms.v2 import functional as F

    return F.rgb_to_grayscale(x) if x.shape[1] == 3 else x


def _mean_grey(x: Tensor) -> Tensor:
    # In float64: how a sum is divided among threads must not show.
    return _grey(x).double().mean((1, 2, 3), keepdim=True).to(x.dtype)


def _blurred(x: Tensor) -> Tensor:
    """Each pixel but those of the border the mean with its neighbours, itself counted 5 times."""
    height, width = x.shape[-2:]
    near = [x[..., i : height - 2 + i, j : width - 2 + j] for i in range(3) for j in range(3)]
    blurred = x.clone()
    blurred[..., 1:-1, 1:-1] = (sum(near) + 4 * x[..., 1:-1, 1:-1]) / 13
    return blurred


_WITHOUT: dict[str, Callable[[Tensor], Tensor]] = {
    "colour": _grey,
    "brightness": torch.zeros_like,
    "contrast": _mean_grey,
    "sharpness": _blurred,
}


def _between(u: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * u


def _whole(u: Tensor, most: Tensor | int) -> Tensor:
    """Whole numbers from 0 to `most`, as floats."""
    return torch.floor(u * (most + 1))


def _shifted(size: int, cut: Tensor, begin: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """Where each of `size` pixels comes from [B,size], and which have one to come from."""
    to = torch.arange(size, device=cut.device) - _whole(place, cut)[:, None]
    kept = (to >= 0) & (to < size - cut[:, None])
    return (to + _whole(begin, cut)[:, None]).long().clamp(0, size - 1), kept


def _at(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """[B,C,H,W] of images at rows and columns, each broadcast to [B,H,W]."""
    sample = torch.arange(len(x), device=x.device)[:, None, None, None]
    channel = torch.arange(x.shape[1], device=x.device)[None, :, None, None]
    return x[sample, channel, rows[:, None], columns[:, None]]
