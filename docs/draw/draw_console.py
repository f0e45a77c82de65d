"""Take screenshots of the console in an incident: `python docs/draw/draw_console.py`.

The fleet is that of the tests (tests/incidents.py): six hours on a virtual clock, at the end of
which a hall loses its connection. Requires Chromium and its driver (`apt-get install chromium
chromium-driver`), the extra `test`, and Pillow, which compresses the pictures (`pip install
pillow`).
"""

import sys
import time
from io import BytesIO
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from PIL import Image  # noqa: E402 -- modules of the tests are found from here on

from consoles import staged  # noqa: E402
from incidents import play  # noqa: E402
from pages import Page, chromium  # noqa: E402
from presenced.presence import PresenceRules  # noqa: E402

IMAGES = ROOT / "docs" / "images"
DEVICE = "#/clients/hall-3-sensor-000"
DESKTOP, PHONE = (1120, 860), (360, 740)
PLAYED_WITHIN = 60.0


def main() -> None:
    """Play the incident, then take all screenshots."""
    rules = PresenceRules(offline_delay=5.0)
    with staged(rules=rules) as stage, chromium() as driver:
        stage.call(lambda: play(stage.fleet), timeout=PLAYED_WITHIN)
        page = Page(driver, stage.url)
        take(page, "console-fleet-light", "", "light", DESKTOP)
        take(page, "console-device-dark", DEVICE, "dark", DESKTOP)
        take(page, "console-phone", "", "dark", PHONE)
        page.forget()


def take(page: Page, name: str, place: str, scheme: str, size: tuple[int, int]) -> None:
    """Take one screenshot, after enough time for the page to be complete."""
    width, height = size
    page.emulate(width=width, height=height, scheme=scheme)
    page.open(place)
    page.run("document.documentElement.style.scrollbarWidth = 'none'")
    page.wait_for_text("#link", "Live")
    time.sleep(2)
    with Image.open(BytesIO(page.driver.get_screenshot_as_png())) as taken:
        taken.convert("RGB").quantize(256).save(IMAGES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
