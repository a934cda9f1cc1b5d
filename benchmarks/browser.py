"""A headless Chromium, for the tests of the page and the measurement of how it opens."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

ARGUMENTS = (
    "headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "force-prefers-reduced-motion",
    "window-size=1400,1000",
)  # fmt: skip


class UnavailableError(Exception):
    """There is no browser here, and why."""


def _tool(variable: str, *names: str) -> str | None:
    """A program: named by the environment, else found on the path."""
    return os.environ.get(variable) or next((path for n in names if (path := shutil.which(n))), None)


@contextmanager
def chromium() -> Iterator[Any]:
    """A selenium driver whose log holds what the page's console says."""
    try:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service
    except ImportError as error:
        raise UnavailableError("selenium is not installed (pip install --group browser)") from error
    binary, driver = _tool("CHROMIUM", "chromium", "google-chrome"), _tool("CHROMEDRIVER", "chromedriver")
    if binary is None or driver is None:
        raise UnavailableError("chromium and chromedriver are not there (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in ARGUMENTS:
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield opened
    finally:
        opened.quit()
