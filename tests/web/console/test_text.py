"""The words of the console."""

from collections.abc import Iterator

import pytest

from consoles import Stage, staged
from pages import Page
from presenced.system.shares import percent


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged() as made:
        yield made


def test_shares_are_rounded_as_the_texts_of_the_daemon_are(page: Page) -> None:
    page.open()
    shares = [part / 2**k for k in range(40) for part in (1, 3, 2**k - 1, 2**k) if part <= 2**k]
    script = """
        const [shares, done] = arguments;
        import(new URL("text.js", location)).then(({ percent }) => done(shares.map(percent)));
    """
    texts = page.driver.execute_async_script(script, shares)
    assert [text.replace("\xa0", " ") for text in texts] == [percent(share) for share in shares]
