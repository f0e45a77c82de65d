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


def test_a_reason_may_be_named_as_a_property_of_all_objects(page: Page) -> None:
    page.open()
    script = """
        const [names, done] = arguments;
        import(new URL("reasons.js", location)).then(({ reason, inWords, inBoth }) =>
          done(names.flatMap((name) => [reason(name).textContent, inWords(name), inBoth(name)])));
    """
    names = ["constructor", "__proto__", "toString"]
    texts = page.driver.execute_async_script(script, names)
    assert texts == [name for name in names for _ in range(3)]


def test_a_url_with_the_name_of_a_property_of_all_objects_is_the_fleet(page: Page) -> None:
    page.open()
    script = """
        const done = arguments[0];
        history.replaceState(null, "", "#constructor");
        import(new URL("views.js", location)).then(({ viewOfUrl }) => done(viewOfUrl().name));
    """
    assert page.driver.execute_async_script(script) == "fleet"


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        (None, 0, 0),
        ("7", 7_000, 7_000),
        ("Fri, 01 Jan 2100 00:00:00 GMT", 60_000, 600_000),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0, 0),
        ("99999999999999999999", 60_000, 600_000),
        ("soon", 0, 0),
    ],
)
def test_no_answer_of_a_proxy_makes_the_page_ask_without_pause(
    page: Page, header: str | None, least: int, most: int
) -> None:
    page.open()
    script = """
        const [header, done] = arguments;
        const headers = header === null ? {} : { "Retry-After": header };
        import(new URL("api.js", location)).then(async ({ refusal }) =>
          done((await refusal(new Response("busy", { status: 503, headers }))).wait));
    """
    wait = page.driver.execute_async_script(script, header)
    assert wait is not None, "NaN"
    assert least <= wait <= most
