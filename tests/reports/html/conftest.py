"""A browser for the tests of pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from robbench.reports.html.sections.gallery import png, signed
from robbench.reports.html.view import COLUMNS, MarginTrace, Pictures, Seen, ViewData
from robbench.store.run import read_run

from .browser import BROWSER, DRIVER, FLAGS, show
from .view_page import CLASSES, EVIL, picture, write


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless Chromium with a profile of its own that keeps its console and network logs."""
    webdriver = pytest.importorskip(
        "selenium.webdriver", reason="selenium is not installed: pip install 'robbench[test]'"
    )
    if not BROWSER or not DRIVER:
        pytest.skip("no Chromium here: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def material(add_run, handmade_rows) -> ViewData:
    """Two models, the second without points and with fewer samples; four samples with pictures."""
    pairs = [
        add_run("a" * 12, handmade_rows(seed=0), model="ce", model_hash="ce"),
        add_run("b" * 12, handmade_rows(30, seed=1), model=EVIL, model_hash="at"),
    ]
    runs = [read_run(path, COLUMNS) for path, _ in pairs]
    pictures = Pictures(worst={"a" * 12: {}})
    for i in (1001, 1002, 1003, 1004):
        clean, file = picture(i)
        moved = np.clip(clean + 0.1, 0, 1)
        pictures.clean[i] = file
        pictures.worst["a" * 12][i] = Seen(
            png(moved, largest=None).partition(",")[2],
            png(signed(moved - clean), largest=None).partition(",")[2],
            0.1,
        )
    return ViewData(
        runs=runs,
        samples=range(1000, 1040),
        classes=CLASSES,
        pictures=pictures,
        traces={"a" * 12: {1001: MarginTrace("pgd:steps=2", [2.0, 0.5, -1.0])}},
        notes=[f"A note {EVIL}"],
        points=frozenset({"a" * 12}),
    )


@pytest.fixture
def page(chromium, material, tmp_path):
    """The page opened from disk, 1300 pixels wide, in light."""
    show(chromium, 1300, "light")
    chromium.get("about:blank")
    chromium.get_log("browser")
    chromium.get_log("performance")
    chromium.get(write(tmp_path, material))
    return chromium
