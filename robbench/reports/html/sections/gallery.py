"""The smallest perturbations found, as pictures: clean, adversarial, difference."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robbench.analysis.series import model_names, name_of
from robbench.reports.html.data import Example, ReportData
from robbench.reports.html.page import Card, Gallery, Notes, Picture, Section

_LARGEST = 128  # pixels of a stored picture; larger ones are made smaller


def gallery(material: ReportData) -> Section:
    """A card per example, by run."""
    names = model_names(material.runs)
    blocks: list[Any] = []
    for run in material.runs:
        if mine := [
            example for example in material.examples if example.run_id == run.info["run_id"]
        ]:
            title = f"{name_of(run, names)}, {run.info['threat']}, {run.info['attack']}"
            blocks.append(Gallery(title, [_card(example) for example in mine]))
    if material.no_examples:
        blocks.append(Notes(list(material.no_examples)))
    return Section("gallery", "Smallest perturbations", blocks)


def png(image: NDArray[np.floating[Any]]) -> str:
    """A data URI of an image [1 or 3,H,W] in [0,1] as PNG, at most 128 pixels a side."""
    from PIL import Image

    pixels = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
    picture = Image.fromarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1))
    picture.thumbnail((_LARGEST, _LARGEST))
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _card(example: Example) -> Card:
    difference = example.worst - example.clean
    largest = float(np.abs(difference).max()) or 1.0
    strength = 0.5 / largest
    shown = f"x{strength:.0f}" if strength >= 9.5 else f"x{strength:.1f}"
    where = f"sample {example.sample_id:016x}"
    pictures = [
        Picture(png(example.clean), f"{where}, clean", f"clean: {example.clean_prediction}"),
        Picture(
            png(example.worst), f"{where}, perturbed", f"perturbed: {example.worst_prediction}"
        ),
        Picture(
            png(0.5 + strength * difference), f"{where}, what was added, {shown}", f"added, {shown}"
        ),
    ]
    text = (
        f"label {example.label}, taken for {example.worst_prediction} at {example.norm} "
        f"{example.size:.3g}, by {example.found_by}"
    )
    return Card(pictures, text)
