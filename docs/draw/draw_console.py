"""Take screenshots of the console during a demo run: `python docs/draw/draw_console.py`.

Requires Chromium and its driver (`apt-get install chromium chromium-driver`), the extra `test`, and
Pillow, which compresses the pictures (`pip install pillow`).
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from urllib.parse import quote
from urllib.request import urlopen

from PIL import Image
from selenium.webdriver import Chrome, ChromeOptions, ChromeService

IMAGES = Path(__file__).parents[1] / "images"
LISTEN = "127.0.0.1:9984"
URL = f"http://{LISTEN}"
DEVICES, SEED, AFTER = 40, 11, 100
DESKTOP, PHONE = (1120, 720), (390, 720)
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--hide-scrollbars",
)


def main() -> None:
    """Run the demo for `AFTER` seconds, then take all screenshots."""
    with demo(), browser() as driver:
        time.sleep(AFTER)
        device = f"#/clients/{quote(most_eventful_client(), safe='')}"
        take(driver, "console-fleet-light", "", "light", DESKTOP)
        take(driver, "console-device-dark", device, "dark", DESKTOP)
        take(driver, "console-phone", "", "dark", PHONE)


@contextmanager
def demo() -> Iterator[None]:
    """Run the demo for the duration of this context."""
    command = [sys.executable, "-m", "presenced", "demo", "--listen", LISTEN]
    options = ["--devices", str(DEVICES), "--seed", str(SEED)]
    process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL)  # noqa: S603
    try:
        yield
    finally:
        process.terminate()
        process.wait()


@contextmanager
def browser() -> Iterator[Chrome]:
    """Start a headless browser."""
    options = ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for option in OPTIONS:
        options.add_argument(option)
    driver = Chrome(options, ChromeService("/usr/bin/chromedriver"))
    try:
        yield driver
    finally:
        driver.quit()


def most_eventful_client() -> str:
    """Return the client with the longest explanation."""

    def length(client_id: str) -> int:
        client = ask(f"clients/{quote(client_id, safe='')}")
        return len(client["explanation"]) + 100 * len(client["ignored"])

    return max((client["client_id"] for client in ask("clients")["clients"]), key=length)


def ask(path: str) -> dict[str, list[dict[str, str]]]:
    """Query the API of the demo."""
    with urlopen(f"{URL}/api/v1/{path}") as answer:  # noqa: S310
        document: dict[str, list[dict[str, str]]] = json.load(answer)
        return document


def take(driver: Chrome, name: str, place: str, scheme: str, size: tuple[int, int]) -> None:
    """Take one screenshot, after enough time for some transitions to appear."""
    width, height = size
    view = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", view)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    driver.get("about:blank")
    driver.get(f"{URL}/{place}")
    time.sleep(3 if place else 12)
    with Image.open(BytesIO(driver.get_screenshot_as_png())) as taken:
        taken.convert("RGB").quantize(256).save(IMAGES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
