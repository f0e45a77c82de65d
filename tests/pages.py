"""A real Chromium that looks at pages, and what it saw go wrong there."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from axe_core_python.selenium import Axe
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from brokers import missing
from waiting import wait_for

_OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--window-size=1200,900",
)


class Page:
    """A browser on the pages below `url`."""

    def __init__(self, driver: Chrome, url: str) -> None:
        self.driver = driver
        self.url = url

    def forget(self) -> None:
        """Leave the page, which may still ask a daemon that has ended, and drop its complaints."""
        self.driver.get("about:blank")
        self.complaints()

    def open(self, place: str = "") -> None:
        """Load the page anew, at a place after the `#`."""
        self.driver.get("about:blank")
        self.driver.get(self.url + place)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def texts(self, selector: str) -> list[str]:
        """The texts of what is there at one moment, with one space wherever there is some."""
        script = "return [...document.querySelectorAll(arguments[0])].map(e => e.innerText)"
        return [" ".join(text.split()) for text in self.run(script, selector)]

    def text(self, selector: str) -> str:
        """The text of what is there first, empty where nothing is."""
        return next(iter(self.texts(selector)), "")

    def wait(self, condition: Callable[[], object], what: str = "") -> None:
        """Block until the condition holds, also where the page changes under it."""

        def holds() -> object:
            try:
                return condition()
            except StaleElementReferenceException:
                return False

        try:
            wait_for(holds, what=what)
        except AssertionError as error:
            raise AssertionError(f"{error}; the page says: {self.text('body')}") from None

    def wait_for_text(self, selector: str, text: str) -> None:
        self.wait(lambda: text in self.text(selector), what=f"{text!r} in {selector}")

    def emulate(self, *, width: int = 1200, height: int = 900, scheme: str = "light") -> None:
        """Look by another screen, and another scheme of colours."""
        view = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", view)
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)

    def complaints(self) -> list[str]:
        """What the browser wrote to its console since this was last asked, CSP included."""
        return [line["message"] for line in self.driver.get_log("browser")]

    def barriers(self) -> list[str]:
        """What axe finds that keeps people out."""
        found = Axe().run(self.driver)["violations"]
        return [f"{rule['id']}: {[node['html'] for node in rule['nodes']]}" for rule in found]


@contextmanager
def chromium() -> Iterator[Chrome]:
    """A browser without a window; skips the test without one, and fails it in CI."""
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver is None:
        missing("chromium is not installed: apt-get install chromium chromium-driver")
    options = ChromeOptions()
    options.binary_location = binary
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for option in _OPTIONS:
        options.add_argument(option)
    browser = Chrome(options, ChromeService(driver))
    try:
        yield browser
    finally:
        browser.quit()
