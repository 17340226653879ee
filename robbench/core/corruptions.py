"""Names, descriptions and grammar of the common corruptions. Needs no torch.

The set and its severities are those of Hendrycks and Dietterich 2019, arXiv:1903.12261.
"""

from __future__ import annotations

import re

from robbench.core.errors import UserError, nearest

PREFIX = "corruption:"
"""What the norm of a corruption begins with, as in `corruption:fog`; its budget is a severity."""

SEVERITIES = range(1, 6)
EDITION = 1
"""Of the definitions: runs of another one are other runs."""

CORRUPTIONS = {
    "gaussian_noise": "normal noise on every entry",
    "shot_noise": "Poisson noise, as of few photons",
    "impulse_noise": "entries that are black or white, salt and pepper",
    "defocus_blur": "a disk in place of each point",
    "glass_blur": "pixels that change places with neighbours, between two Gaussian blurs",
    "motion_blur": "a streak in a random direction in place of each point",
    "zoom_blur": "the mean of the image at several magnifications",
    "snow": "random flakes, blurred along their fall, on a whitened image",
    "frost": "a layer of ice; its texture is made at random, it is none of the published pictures",
    "fog": "a fractal haze (diamond-square)",
    "brightness": "the value of HSV, raised",
    "contrast": "every entry, nearer to the mean of its channel",
    "elastic_transform": "a random affine map and a smooth random displacement",
    "pixelate": "fewer pixels, made large again",
    "jpeg_compression": "JPEG at low quality",
}
ALL = "all"

_ITEM = re.compile(r"([^@]+)(?:@([1-5])(?:-([1-5]))?)?")


def is_corruption(norm: str) -> bool:
    """Whether the norm of a threat model is a corruption's, such as `corruption:fog`."""
    return norm.startswith(PREFIX)


def in_words(norm: str) -> str:
    """The name of a corruption as text: `motion blur`."""
    return norm.removeprefix(PREFIX).replace("_", " ")


def budget_of(norm: str) -> str:
    """What the size of a threat model is called: `linf budget`, `severity of motion blur`."""
    if is_corruption(norm):
        return f"severity of {in_words(norm)}"
    return f"{norm} budget"


def size_norm(norm: str) -> str:
    """The norm that the size of a perturbation is given in: of a corruption linf."""
    return "linf" if is_corruption(norm) else norm


def norms_of_corruptions() -> tuple[str, ...]:
    """What the column `norm` holds of runs under corruptions."""
    return tuple(PREFIX + name for name in CORRUPTIONS)


def expand(text: str) -> list[tuple[str, int]]:
    """`fog@3,snow` -> (fog, 3) and snow at every severity; `all` is every corruption.

    Raises UserError for an unknown name, a severity that is none of 1 to 5, and a pair named twice.
    """
    found: list[tuple[str, int]] = []
    for item in (part.strip() for part in text.split(",")):
        match = _ITEM.fullmatch(item)
        if match is None:
            raise UserError(
                f"malformed threat '{PREFIX}{text}': write NAME, NAME@SEVERITY or NAME@1-5 with "
                f"severities from 1 to 5, such as {PREFIX}fog@3 or {PREFIX}{ALL}"
            )
        name = match[1].strip().lower().replace("-", "_")
        if ":" in name:
            raise UserError(
                f"malformed threat '{PREFIX}{item}': a severity follows an @, as in {PREFIX}fog@3; "
                "give each other threat model a --threat of its own"
            )
        if name not in (ALL, *CORRUPTIONS):
            raise UserError(f"unknown corruption '{match[1]}'{nearest(name, [*CORRUPTIONS, ALL])}")
        low = int(match[2] or SEVERITIES[0])
        high = int(match[3] or match[2] or SEVERITIES[-1])
        if low > high:
            raise UserError(f"threat '{PREFIX}{item}': {low} is larger than {high}")
        names = CORRUPTIONS if name == ALL else (name,)
        found += [(one, severity) for one in names for severity in range(low, high + 1)]
    for n, pair in enumerate(found):
        if pair in found[:n]:
            raise UserError(f"threat {PREFIX}{pair[0]}@{pair[1]} is given twice: leave one out")
    return found
