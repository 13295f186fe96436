"""A headless Chromium for the page's tests; without one they are skipped."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="neither Chromium nor Chrome with its chromedriver is here"
)
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


class Browser:
    """A page in Chromium, and the actions of a user."""

    def __init__(self, driver: webdriver.Chrome, folder: Path) -> None:
        self.driver = driver
        self.folder = folder

    def open(self, server: str, width: int = 1280, dark: bool = False) -> None:
        """Load the page in a window of `width` px, and wait for its samples."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [theme, still]})
        self.driver.get(server)
        self.wait(lambda: self.all("#sample-list li") and self.all("#facts div"))

    def wait(self, until: Callable[[], Any]) -> None:
        """Wait until it is true; half a minute at most."""
        WebDriverWait(self.driver, 30, 0.05).until(lambda _: until())

    def id(self, name: str) -> Any:
        return self.driver.find_element(By.ID, name)

    def all(self, selector: str) -> list[Any]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        return [element.text for element in self.all(selector)]

    def run(self, script: str, *arguments: Any) -> Any:
        """Run JavaScript and return its value."""
        return self.driver.execute_script(script, *arguments)

    def module(self, file: str, function: str, *arguments: Any) -> Any:
        """Call a function of one of the page's modules and return its value."""
        return self.driver.execute_async_script(
            "const [file, name, given, done] = arguments;"
            "import(`/static/${file}`).then((module) => done(module[name](...given)))",
            file, function, arguments,
        )  # fmt: skip

    def choose(self, *files: Path) -> None:
        """Give images to the page's button and wait for the predictions."""
        self.id("files").send_keys("\n".join(str(file) for file in files))
        self.settled()

    def settled(self) -> None:
        """Wait until nothing is being sent."""
        idle = "return !document.getElementById('results').hidden && "
        idle += "document.getElementById('progress').hidden"
        self.wait(lambda: self.run(idle))
        self.next_frame()

    def next_frame(self) -> None:
        """Wait until the page is drawn again."""
        self.driver.execute_async_script(
            "requestAnimationFrame(() => requestAnimationFrame(arguments[0]))"
        )

    def focused(self) -> Any:
        return self.driver.switch_to.active_element

    def press(self, *keys: str) -> None:
        """Press keys; the focused element gets them."""
        for key in keys:
            webdriver.ActionChains(self.driver).send_keys(key).perform()

    def drawn(self, canvas: str = "picture") -> NDArray[np.uint8]:
        """Pixels of a canvas: uint8, (height, width, 3)."""
        self.wait(
            lambda: self.run("return document.getElementById(arguments[0]).width", canvas) > 1
        )
        width, height, flat = self.run(
            "const c = document.getElementById(arguments[0]);"
            "const copy = new OffscreenCanvas(c.width, c.height).getContext('2d');"
            "copy.drawImage(c, 0, 0);"
            "const p = copy.getImageData(0, 0, c.width, c.height).data;"
            "return [c.width, c.height, Array.from(p)]",
            canvas,
        )
        return np.array(flat, dtype=np.uint8).reshape(height, width, 4)[..., :3]

    def download(self) -> str:
        """Download the CSV file and read it."""
        file = self.folder / "predictions.csv"
        file.unlink(missing_ok=True)
        self.id("csv").click()
        self.wait(file.is_file)
        return file.read_text(encoding="utf-8-sig")

    def complaints(self) -> list[str]:
        """The console's messages about our page since the last call."""
        log = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        refused = "Failed to load resource"  # the browser's note of a status over 399
        return [entry["message"] for entry in log if refused not in entry["message"]]

    def axe(self) -> list[str]:
        """Violations of accessibility rules (WCAG 2.1 AA and good practice), by axe-core."""
        package = pytest.importorskip("axe_core_python")
        self.run((Path(package.__file__).parent / "axe.min.js").read_text())
        found = self.driver.execute_async_script("axe.run(document).then(arguments[0])")
        return [
            f"{rule['id']}: {rule['help']} {[node['target'] for node in rule['nodes']]}"
            for rule in found["violations"]
        ]


@contextmanager
def opened(folder: Path) -> Iterator[Browser]:
    """A browser with an empty profile that downloads into `folder`."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in (*QUIET, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(argument)
    options.add_experimental_option("prefs", {"download.default_directory": str(folder)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(str(DRIVER))
    driver = webdriver.Chrome(options=options, service=service)
    try:
        yield Browser(driver, folder)
    finally:
        driver.quit()
