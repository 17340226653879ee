"""A page to look at samples, and what a person does there and sees."""

from __future__ import annotations

from typing import Any

import numpy as np

from robbench.reports.html.sections.gallery import png
from robbench.reports.html.view import ViewData, render_view

EVIL = "</script><script>document.title='taken'</script>"
CLASSES = ("cat", EVIL, "<img src=x onerror=alert(1)>", "dog & \u2028 'cow'")


def picture(seed: int, size: int = 5) -> tuple[np.ndarray, str]:
    """An image [3,H,W] in [0,1], and its PNG file as base64."""
    image = np.random.default_rng(seed).random((3, size, size))
    return image, png(image, largest=None).partition(",")[2]


def write(folder: Any, material: ViewData) -> str:
    """Write the page; its address."""
    path = folder / "view.html"
    path.write_text(render_view(material, f"Samples {EVIL}"), encoding="utf-8")
    return path.as_uri()


def set_value(driver: Any, name: str, value: str) -> None:
    """Change a control as a person does."""
    driver.execute_script(
        "const c = document.getElementById(arguments[0]); c.value = arguments[1];"
        "c.dispatchEvent(new Event('input', {bubbles: true}))",
        name,
        value,
    )


def found_text(driver: Any) -> str:
    """How many samples are found, in words."""
    return driver.find_element("id", "count").text


def heads(driver: Any) -> list[str]:
    """The starts of the ids of the samples that are drawn."""
    return driver.execute_script(
        "return [...document.querySelectorAll('[role=option] code')].map((c) => c.textContent)"
    )


def broken_ids(run: Any) -> set[int]:
    """The ids of the samples that an attack broke."""
    rows = run.samples.to_pylist()
    return {row["sample_id"] for row in rows if row["adversarial"] and row["clean_correct"]}
