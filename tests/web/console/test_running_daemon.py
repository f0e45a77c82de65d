"""The console of `presenced run` in a real Chromium, with events from a mosquitto."""

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import bcrypt
import pytest
import yaml
from selenium.webdriver import Chrome
from selenium.webdriver.common.keys import Keys

from brokers import Mosquitto, free_port
from daemons import Daemon
from pages import Page
from waiting import wait_for

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "\"'><script>alert(1)</script>",
    "javascript:alert(1)",
    "a/b//c/history",
    "100%25%2F?x=1&y#z",
    "\u202egnp.exe\u200f",
    "\U0001f69c\U0001f468\u200d\U0001f33e",
    "${alert(1)}{{1+1}}",
    "__proto__",
    "x" * 900,
    " two  spaces ",
)


def event(client_id: str, kind: str, version: int, **fields: Any) -> tuple[str, bytes]:
    payload = {"clientId": client_id, "versionNumber": version, "sessionIdentifier": f"s{version}"}
    # The topic has room for less than a client ID may hold.
    return f"$aws/events/presence/{kind}/x", json.dumps(payload | fields).encode()


def life() -> Iterator[tuple[str, bytes]]:
    for client_id in HOSTILE:
        yield event(client_id, "connected", 1)
    for number in range(120):
        yield event(f"pump-{number:03}", "connected", 1)
        if number % 4 == 0:
            yield event(f"pump-{number:03}", "disconnected", 1, disconnectReason="CONNECTION_LOST")
    yield event("taken", "connected", 1)
    yield event("taken", "connected", 3)
    yield event("taken", "disconnected", 1, disconnectReason="DUPLICATE_CLIENTID")


def taken(daemon: Daemon) -> float:
    return sum(value for (name, _), value in daemon.scrape().items() if name == "iot_events_total")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    made = Mosquitto(tmp_path_factory.mktemp("broker"))
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def daemon(broker: Mosquitto, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    made = Daemon(
        tmp_path_factory.mktemp("daemon"), broker=broker, presence={"offline_delay": "0s"}
    )
    try:
        made.start()
        made.wait_until_ready()
        events = list(life())
        broker.publish(events)
        wait_for(lambda: taken(made) == len(events), what="all events")
        yield made
    finally:
        made.stop()


@pytest.fixture
def page(browser: Chrome, daemon: Daemon) -> Iterator[Page]:
    """The console, of which nothing may be complained about in the end."""
    page = Page(browser, f"http://127.0.0.1:{daemon.port}/")
    page.emulate()
    page.complaints()
    yield page
    assert page.complaints() == []


IDS = "#clients tbody th"
SINGLE = "#recent > li:not(.mass)"


def show(page: Page, place: str = "") -> None:
    page.open(place)
    page.wait_for_text("#link", "Live")


def test_the_fleet_in_numbers(page: Page, daemon: Daemon) -> None:
    show(page)
    online, offline = (daemon.value("iot_clients", state=each) for each in ("online", "offline"))
    page.wait_for_text("#numbers", f"online {online:.0f}")
    assert f"offline {offline:.0f}" in page.text("#numbers")
    assert page.text("#share-now") == f"{100 * online / (online + offline):.1f} % online"
    assert page.texts("#breakdown li") == ["connection lost · CONNECTION_LOST 100 % 30"]


def test_all_clients_are_there_page_by_page(page: Page, daemon: Daemon) -> None:
    show(page, "#/?state=any")
    seen: list[str] = []

    def is_new() -> bool:
        shown = page.texts(IDS)
        return bool(shown) and shown[0] not in seen

    while True:
        page.wait(is_new, "the next page")
        seen += page.texts(IDS)
        if not page.one("#next-page").is_displayed():
            break
        page.one("#next-page").click()
    assert len(seen) == len(set(seen)) == len(HOSTILE) + 121
    page.driver.back()
    page.wait(lambda: page.texts(IDS)[0] in seen[:-1] and page.one("#next-page").is_displayed())
    page.one("#first-page").click()
    page.wait(lambda: page.texts(IDS)[0] == seen[0])


def test_a_search_in_any_part_of_the_id_is_kept_by_the_address(page: Page) -> None:
    show(page)
    page.wait_for_text("#list-title", "Who went offline last")
    page.one("#contains").send_keys("MP-00")
    page.wait(lambda: page.texts(IDS) == [f"pump-{number:03}" for number in range(10)])
    page.one("#state-filter").send_keys("offline")
    page.wait(lambda: page.texts(IDS) == ["pump-008", "pump-004", "pump-000"])
    page.one("#sort").send_keys("client")
    page.wait(lambda: page.texts(IDS) == ["pump-000", "pump-004", "pump-008"])
    page.driver.refresh()
    page.wait(lambda: page.texts(IDS) == ["pump-000", "pump-004", "pump-008"])
    assert page.one("#contains").get_attribute("value") == "MP-00"
    page.one("#contains").send_keys("-nothing")
    page.wait_for_text("#list-note", "No client matches. Only offline clients are listed")
    page.one("#list-note a").click()
    page.wait_for_text("#list-note", "No client matches. Show all clients")
    page.one("#clear").click()
    page.wait_for_text("#list-title", "Who went offline last")
    assert page.one("#contains").get_attribute("value") == ""
    page.wait(lambda: len(page.texts(IDS)) >= 30)


def test_filters_select_by_reason_and_by_how_long(page: Page) -> None:
    show(page, "#/?prefix=pump-00")
    page.wait(lambda: len(page.texts(IDS)) == 10)
    assert page.texts("#active .chip") == ["ID begins with pump-00 \N{MULTIPLICATION SIGN}"]
    page.one("#reason").send_keys("connection lost")
    page.wait(lambda: page.texts(IDS) == ["pump-000", "pump-004", "pump-008"])
    page.one("#reason").send_keys("throttled")
    page.one("#more-filters summary").click()
    page.one("#offline_for").send_keys("7 days")
    page.wait_for_text("#list-note", "No client matches.")
    assert "offline_for=7d" in page.driver.current_url


def test_the_page_begins_with_what_went_offline_last(page: Page) -> None:
    show(page)
    page.wait_for_text("#list-note", "clients on this page.")
    assert page.texts(IDS)[0] == "pump-116"
    assert {each.partition(" ")[0] for each in page.texts("#clients td:nth-child(2)")} == {
        "offline"
    }


def test_a_number_leads_to_its_clients(page: Page) -> None:
    show(page)
    page.wait(lambda: page.all("#numbers a"))
    page.all("#numbers a")[0].click()
    page.wait_for_text("#list-note", "50 clients on this page; more follow.")
    assert page.one("#state-filter").get_attribute("value") == "online"
    page.one("#breakdown a").click()
    page.wait(lambda: page.text("#list-note") == "30 clients on this page.")
    assert page.one("#reason").get_attribute("value") == "CONNECTION_LOST"


def test_the_story_of_a_client(page: Page) -> None:
    show(page, "#/clients/taken")
    page.wait_for_text("#story", "Online since")
    assert "was ignored: the connect of version 3 is later." in page.text("#story")
    timeline = page.texts("#timeline li")
    assert len(timeline) == 3
    assert "The disconnect of an earlier connection was ignored" in timeline[0]
    assert "DUPLICATE_CLIENTID · version 1" in timeline[0]
    assert "Connected while another connection was open" in timeline[1]
    assert "Connected: online." in timeline[2]
    assert "At most 20 events" in page.text("#bounds")
    assert page.one("#presence").get_attribute("aria-label").startswith("From ")
    assert "Session s3" in page.text("#facts")


def test_a_client_that_is_not_known(page: Page) -> None:
    show(page, "#/clients/nobody")
    page.wait_for_text("#notices", "The client is not known")
    assert page.text("#device-title") == "nobody"
    # The browser itself writes of every answer that is none.
    assert all("404" in line for line in page.complaints())
    show(page, "#/clients/..")
    page.wait_for_text("#notices", "Browsers cannot request")


def test_a_transition_comes_by_itself(page: Page, broker: Mosquitto) -> None:
    show(page)
    page.wait(lambda: page.texts("#numbers b"))
    online = int(page.texts("#numbers b")[0])
    broker.publish([event("pump-001", "disconnected", 1, disconnectReason="CONNECTION_LOST")])
    page.wait_for_text(SINGLE, "pump-001")
    assert "offline" in page.text(SINGLE)
    page.wait_for_text("#numbers", f"online {online - 1}")
    page.one("#pause").click()
    before = page.texts("#recent li")
    broker.publish([event("pump-001", "connected", 2)])
    page.wait_for_text("#numbers", f"online {online} ")
    assert page.texts("#recent li") == before
    page.one("#pause").click()
    # By itself, or as one more of those that connected within the last 20 s.
    page.wait(lambda: page.texts("#recent li") != before)


def test_a_list_and_a_story_follow_what_happens(page: Page, broker: Mosquitto) -> None:
    show(page, "#/?prefix=newcomer")
    page.wait_for_text("#list-note", "No client matches.")
    broker.publish([event("newcomer", "connected", 1)])
    page.wait(lambda: page.texts(IDS) == ["newcomer"])
    page.one(f"{IDS} a").click()
    page.wait_for_text("#badge", "online")
    broker.publish([event("newcomer", "disconnected", 1)])
    page.wait_for_text("#badge", "offline")
    page.one("#back").click()
    page.wait(lambda: page.texts(IDS) == ["newcomer"])


@pytest.mark.parametrize("client_id", HOSTILE, ids=ascii)
def test_a_hostile_client_id_is_only_text(page: Page, client_id: str) -> None:
    show(page, f"#/?{quote('prefix')}={quote(client_id, safe='')}")
    page.wait(lambda: len(page.all(f"{IDS} a")) == 1, "its row")
    page.one(f"{IDS} a").click()
    page.wait_for_text("#badge", "online")
    raw = page.run("return document.querySelector('#device-title').textContent")
    assert raw == client_id.replace("\u202e", "\\u{202e}").replace("\u200f", "\\u{200f}")
    assert page.all("main img") == page.all("main script") == []
    assert "Connected: online." in page.text("#timeline")
    page.driver.refresh()
    page.wait_for_text("#badge", "online")
    assert page.run("return document.documentElement.scrollWidth - innerWidth") <= 0


def test_everything_is_reached_by_the_keyboard(page: Page) -> None:
    show(page)
    page.wait(lambda: page.all(f"{IDS} a"))

    def focused() -> Any:
        return page.run("return document.activeElement.id || document.activeElement.innerText")

    def press(*keys: str) -> None:
        page.driver.switch_to.active_element.send_keys(*keys)

    met = []
    while not page.run("return document.activeElement.closest('#clients')"):
        press(Keys.TAB)
        met.append(focused())
        outline = page.run("return getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", met
        assert len(met) < 80, met
    assert met[0] == "Skip to the content"
    fields = ["pause", "contains", "state-filter", "reason", "sort"]
    assert [each for each in met if each in fields] == fields
    assert met[1:6] == ["presenced", "Fleet", "Recent", "Flapping", "Daemon"]
    press(Keys.ENTER)
    page.wait(lambda: focused() == "device-title")
    page.driver.back()
    page.wait(lambda: page.text(f"{IDS} a") and focused() == page.text(f"{IDS} a"))


def test_the_focus_stays_where_it_is_while_a_list_changes(page: Page, broker: Mosquitto) -> None:
    show(page, "#/?prefix=taken")
    page.wait(lambda: page.texts(IDS) == ["taken"])
    page.run("document.querySelector('#clients tbody a').focus()")
    broker.publish([event("taken-2", "connected", 1)])
    page.wait(lambda: page.texts(IDS) == ["taken", "taken-2"])
    assert page.run("return document.activeElement.innerText") == "taken"


WIDTH = "return document.documentElement.scrollWidth"
OTHER_PAGES = (
    ("#/clients/taken", "#timeline", "Connected"),
    ("#/recent", "#all-recent", "CONNECTION_LOST"),
    ("#/flapping", "#flapping-lead", "in the last hour"),
    ("#/daemon", "#totals", "Went online"),
)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 360])
def test_nothing_keeps_people_out(page: Page, broker: Mosquitto, scheme: str, width: int) -> None:
    page.emulate(width=width, scheme=scheme)
    show(page)
    ground = page.run("return getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
    version = {1200: 10, 360: 20}[width] + (scheme == "dark")
    broker.publish([event("pump-002", "disconnected", version), event("a-b", "connected", version)])
    broker.publish([event("pump-002", "connected", version + 1)])
    page.wait(lambda: page.all("#recent li") and page.all(f"{IDS} a"))
    page.run("for (const each of document.querySelectorAll('details')) each.open = true")
    assert page.barriers() == []
    assert page.run(WIDTH) <= width
    for place, selector, text in OTHER_PAGES:
        show(page, place)
        page.wait_for_text(selector, text)
        assert page.barriers() == []
        assert page.run(WIDTH) <= width


def test_a_lost_connection_is_told_and_comes_back(
    browser: Chrome, daemon_of: Any, broker_of: Any
) -> None:
    broker = broker_of()
    daemon = daemon_of(broker=broker)
    daemon.wait_until_ready()
    page = Page(browser, f"http://127.0.0.1:{daemon.port}/")
    broker.publish([event("pump", "connected", 1)])
    wait_for(lambda: daemon.value("iot_clients", state="online") == 1, what="the client")
    show(page, "#/clients/pump")
    page.wait_for_text("#badge", "online for")
    broker.stop()
    page.wait_for_text("#link", "Not ready")
    page.wait_for_text("#client-old", "no events for")
    page.wait_for_text("#state-line", "Not receiving events since")
    assert re.search(
        r"MQTT connection presenced: .*\. The states are those of", page.text("#state-details")
    )
    daemon.signal(signal.SIGTERM)
    daemon.wait(timeout=5)
    page.wait_for_text("#link", "Connection lost at")
    assert re.match("As of .*: no events for", page.text("#client-old"))
    assert "The connection to presenced is lost." in page.text("#notices")
    page.run("location.hash = '#/'")  # without a state file the client is not known after a start
    daemon.start()
    page.wait_for_text("#link", "Not ready")
    page.wait(lambda: "is lost" not in page.text("#notices"))
    broker.start()
    daemon.wait_until_ready()
    page.wait_for_text("#link", "Live")
    page.wait(lambda: page.text("#notices") == page.text("#state-details") == "")
    page.complaints()  # of what could not be reached


def test_a_password_that_the_browser_knows_is_enough(
    browser: Chrome, daemon_of: Any, tmp_path: Path
) -> None:
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    web = tmp_path / "web.yml"
    web.write_text(yaml.safe_dump({"basic_auth_users": {"somebody": hashed}}))
    health = f"127.0.0.1:{free_port()}"
    daemon = daemon_of(metrics={"web_config": str(web), "health_listen": health})
    page = Page(browser, f"http://somebody:secret@127.0.0.1:{daemon.port}/")
    page.forget()
    page.open()
    page.wait_for_text("#link", "Not ready")
    assert page.complaints() == []


def test_without_the_api_the_page_says_what_is_left(browser: Chrome, daemon_of: Any) -> None:
    daemon = daemon_of(metrics={"api": False})
    page = Page(browser, f"http://127.0.0.1:{daemon.port}/")
    page.forget()
    page.open()
    assert "metrics.api is false" in page.text("main")
    links = [link.get_attribute("href") for link in page.all("main a")]
    assert links == [page.url + path for path in ("metrics", "-/ready", "-/healthy")]
    assert page.barriers() == []
    assert page.complaints() == []
