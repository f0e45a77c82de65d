"""One browser for the tests of the console, each on a stage of its own."""

from collections.abc import Iterator

import pytest
from selenium.webdriver import Chrome

from consoles import Stage
from pages import Page, chromium


@pytest.fixture(scope="session")
def browser() -> Iterator[Chrome]:
    with chromium() as driver:
        yield driver


@pytest.fixture
def page(browser: Chrome, stage: Stage) -> Page:
    page = Page(browser, stage.url)
    page.emulate()
    return page
