"""A headless Chromium for tests of pages, and a picture of a planner for the README:

python tests/shared/browser.py results/laptop-real/plan/planner.html docs/figures/planner.png
"""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
MISSING = "no Chromium with its driver here (Debian: apt-get install chromium chromium-driver)"


@contextmanager
def chromium() -> Iterator[webdriver.Chrome]:
    """A browser without a window, whose page may be resized and whose console is kept."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    # Containers lack the sandbox and shared memory; what is opened here is our own page.
    for argument in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


def look(driver: webdriver.Chrome, width: int, height: int, scheme: str = "light") -> None:
    """Show the page at a size in CSS pixels, in the colour scheme "light" or "dark"."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


def settle(driver: webdriver.Chrome) -> None:
    """Wait until the page has counted its draws and drawn what it found."""
    done = "return window.planner !== undefined && planner.settled()"
    WebDriverWait(driver, 60, 0.05).until(lambda d: d.execute_script(done))


def open_page(driver: webdriver.Chrome, path: Path) -> None:
    driver.get(path.resolve().as_uri())
    settle(driver)


if __name__ == "__main__":
    page, picture = map(Path, sys.argv[1:])
    with chromium() as driver:
        look(driver, 1400, 900)
        open_page(driver, page)
        driver.save_screenshot(str(picture))
