"""A headless Chromium: its size, colours, and what it asked of the network."""

from __future__ import annotations

import json
import shutil
from typing import Any

BROWSER, DRIVER = (
    next(filter(None, map(shutil.which, names)), None)
    for names in (("chromium", "google-chrome"), ("chromedriver",))
)
FLAGS = (
    *(
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
    ),
    *("--disable-component-update", "--disable-sync"),
)


def show(driver: Any, width: int, scheme: str) -> None:
    """A window of this width, 900 pixels high, in `light` or `dark`."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )


def wait(driver: Any, script: str) -> None:
    """Until a script returns true."""
    from selenium.webdriver.support.wait import WebDriverWait

    WebDriverWait(driver, 20, poll_frequency=0.05).until(lambda d: d.execute_script(script))


def requests(driver: Any) -> list[str]:
    """The addresses asked for since the last call."""
    return [
        message["params"]["request"]["url"]
        for entry in driver.get_log("performance")
        if (message := json.loads(entry["message"])["message"])["method"]
        == "Network.requestWillBeSent"
    ]
