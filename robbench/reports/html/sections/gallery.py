"""The smallest perturbations found, as pictures: clean, adversarial, difference."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robbench.analysis.series import model_names, name_of
from robbench.reports import texts
from robbench.reports.html.data import Example, ReportData
from robbench.reports.html.page import Card, Gallery, Notes, Picture, Section
from robbench.reports.levels import in_levels, level

_LARGEST = 128  # pixels of a stored picture; larger ones are made smaller
_BRIGHTER, _DARKER = np.array([178, 24, 43]) / 255, np.array([33, 102, 172]) / 255


def gallery(material: ReportData) -> Section:
    """A card per example, by run."""
    names = model_names(material.runs)
    blocks: list[Any] = []
    for run in material.shown:
        mine = [one for one in material.examples if one.run_id == run.info["run_id"]]
        if mine:
            threat = texts.threat(run.info["threat"])
            title = f"{name_of(run, names)}, {threat}, {run.info['attack']}"
            levels = in_levels(run.info["norm"], [run.info["eps"]])
            blocks.append(Gallery(title, [_card(example, levels) for example in mine]))
    if material.no_examples:
        blocks.append(Notes(list(material.no_examples)))
    return Section("gallery", "Smallest perturbations", blocks, also=material.one_seed)


def png(image: NDArray[np.floating[Any]], largest: int | None = _LARGEST) -> str:
    """A data URI of an image [1 or 3,H,W] in [0,1] as PNG, at most `largest` pixels a side."""
    from PIL import Image

    pixels = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
    picture = Image.fromarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1))
    if largest is not None:
        picture.thumbnail((largest, largest))
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def signed(difference: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """What was added [C,H,W] in colours [3,H,W]: white for nothing, red brighter, blue darker.

    Of each pixel the channel that changed most; full colour is the largest change of all.
    """
    strongest = np.abs(difference).argmax(0, keepdims=True)
    change = np.take_along_axis(difference, strongest, 0)[0]
    share = change / (np.abs(change).max() or 1.0)
    ends = np.where(share[..., None] > 0, _BRIGHTER, _DARKER)
    return np.moveaxis(1 - np.abs(share)[..., None] * (1 - ends), -1, 0)


def _card(example: Example, levels: bool) -> Card:
    difference = example.worst - example.clean
    largest = float(np.abs(difference).max())
    shown = level(round(largest, 6)) if levels else f"{largest:.2g}"
    where = f"sample {example.sample_id:016x}"
    pictures = [
        Picture(png(example.clean), f"{where}, clean", f"clean: {example.clean_prediction}"),
        Picture(
            png(example.worst), f"{where}, perturbed", f"perturbed: {example.worst_prediction}"
        ),
        Picture(
            png(signed(difference)),
            f"{where}, what was added, up to {shown}",
            f"added: up to {shown}",
        ),
    ]
    size = level(example.size) if levels else texts.digits(example.size)
    text = (
        f"label {example.label}, taken for {example.worst_prediction} at {example.norm} {size}, "
        f"by {example.found_by}"
    )
    return Card(pictures, text)
