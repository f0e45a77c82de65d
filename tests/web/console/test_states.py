"""What the console says of a daemon and of a stream that are not as they should be."""

from collections.abc import Iterator

import pytest
from selenium.webdriver import Chrome

from api_fleet import has_room
from consoles import Stage, staged
from pages import Page, chromium
from presenced.events.message import Message
from presenced.system.supervision import Readiness
from waiting import wait_for


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    with chromium() as driver:
        yield driver


@pytest.fixture
def stage() -> Iterator[Stage]:
    with staged() as made:
        yield made


@pytest.fixture
def page(browser: Chrome, stage: Stage) -> Page:
    page = Page(browser, stage.url)
    page.emulate()
    return page


def test_an_empty_fleet_says_so(page: Page) -> None:
    page.open()
    page.wait_for_text("#list-note", "No client is known yet.")
    assert page.text("#strip-note") == "None since this page was opened."


def test_not_ready_and_catching_up_are_told_with_what_that_means(page: Page, stage: Stage) -> None:
    stage.fleet.readiness = Readiness(ready=False, text="presenced-2: <b>no</b> broker\nx: refused")
    page.open()
    page.wait_for_text(
        "#notices", "presenced is not ready: presenced-2: <b>no</b> broker x: refused"
    )
    stage.fleet.readiness = Readiness(ready=False, text="catching up with what was published")
    page.open()
    page.wait_for_text("#notices", "Until then no client goes offline.")
    stage.fleet.readiness = Readiness(ready=True, text="ready")
    page.open()
    page.wait_for_text("#link", "Live")
    page.wait_for_text("#totals", "Went online 0")
    assert page.text("#notices") == ""


def test_a_client_after_a_gap_is_unverified(page: Page, stage: Stage) -> None:
    stage.call(lambda: stage.fleet.hear("connected", at=1))
    stage.call(lambda: stage.fleet.presence.note_gap(stage.fleet.now))
    page.open()
    page.wait_for_text("#notices", "the state of 1 client is unverified")
    page.wait_for_text("#clients tbody", "unverified")
    page.one("#clients tbody a").click()
    page.wait_for_text("#badge", "unverified")
    assert "Unverified: events may have been lost" in page.text("#story")


def test_what_came_before_is_not_remembered(page: Page, stage: Stage) -> None:
    stage.call(lambda: stage.fleet.hear("connected", at=0))
    for version in range(1, 15):
        at = 10 * version
        stage.call(lambda: stage.fleet.hear("disconnected", version=version, at=at))  # noqa: B023
        stage.call(lambda: stage.fleet.hear("connected", version=version + 1, at=at + 1))  # noqa: B023
    page.open("#/clients/a")
    page.wait_for_text("#bounds", "Earlier events are no longer remembered.")
    assert len(page.all("#timeline li")) == 20
    assert "14 flaps" not in page.text("#story")  # of which twenty events do not tell
    assert "10 flaps in the last hour" in page.text("#story")
    assert len(page.all("#presence span")) == 20


def test_a_pending_client_has_a_deadline_and_then_goes_offline(page: Page, stage: Stage) -> None:
    stage.call(lambda: stage.fleet.hear("connected", at=0))
    lost = {"disconnectReason": "CONNECTION_LOST"}
    stage.call(lambda: stage.fleet.hear("disconnected", at=10, happened=6, **lost))
    page.open("#/clients/a")
    page.wait_for_text("#facts", "Deadline offline at 22:13:35")
    assert "came 4 s late" in page.text("#timeline li")
    stage.call(lambda: stage.fleet.wait(60))
    page.wait_for_text("#badge", "offline")
    page.wait_for_text("#timeline li", "Offline: it did not reconnect within 5 s.")


def test_a_page_that_cannot_follow_says_so_and_is_renewed(page: Page, stage: Stage) -> None:
    hub = stage.fleet.hub
    others = stage.call(lambda: [hub.subscribe(lambda _: True) for _ in range(32)])
    page.open()
    page.wait_for_text("#notices", "Transitions cannot be followed: the maximum number of streams")
    assert page.text("#link") == "Not live"
    stage.call(lambda: [hub.unsubscribe(each) for each in others])
    page.wait_for_text("#link", "Live")
    assert page.text("#notices") == ""


def test_a_page_that_is_not_seen_leaves_its_place_and_misses_nothing(
    page: Page, stage: Stage
) -> None:
    hub = stage.fleet.hub
    stage.call(lambda: [hub.subscribe(lambda _: True) for _ in range(31)])
    page.open()
    page.wait_for_text("#link", "Live")
    assert not stage.call(lambda: has_room(hub))
    first = page.driver.current_window_handle
    page.driver.switch_to.new_window("tab")
    wait_for(lambda: stage.call(lambda: has_room(hub)), what="the end of the hidden page's stream")
    stage.call(lambda: stage.fleet.hear("connected", "meanwhile", at=1))
    page.driver.close()
    page.driver.switch_to.window(first)
    page.wait_for_text("#strip li", "meanwhile")


def test_what_was_lost_is_told(page: Page, stage: Stage) -> None:
    page.open()
    page.wait_for_text("#link", "Live")

    def flood() -> None:
        messages = []
        for number in range(1500):
            body = f'{{"clientId": "c{number}", "versionNumber": 1}}'.encode()
            topic = f"$aws/events/presence/connected/c{number}"
            messages.append(Message(topic, body, 1, stage.fleet.now, stage.fleet.now, "presenced"))
        stage.fleet.pipeline.process(messages)

    stage.call(flood)
    page.wait(lambda: page.all("#strip li"))
    page.wait_for_text("#strip-note", "1,000 since this page was opened; 500 more")
    shown = page.texts("#strip li")
    assert len(shown) == 30
    assert "c1499" in shown[0]
    page.wait_for_text("#numbers", "1,500 online")


def test_the_console_works_below_a_path(browser: Chrome) -> None:
    with staged("/fleets/one/") as stage:
        stage.call(lambda: stage.fleet.hear("connected", "a/b%", at=1))
        page = Page(browser, stage.url)
        page.complaints()
        page.open()
        page.wait_for_text("#link", "Live")
        page.wait(lambda: page.texts("#clients tbody th") == ["a/b%"])
        page.one("#clients tbody a").click()
        page.wait_for_text("#badge", "online")
        links = [link.get_attribute("href") for link in page.all("header nav a")]
        assert all(link.startswith(stage.url) for link in links)
        stage.call(lambda: stage.fleet.hear("connected", "b", at=2))
        page.driver.back()
        page.wait_for_text("#strip", "b")
        assert page.complaints() == []
