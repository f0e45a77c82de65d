"""What the console says of a daemon and of a stream that are not as they should be."""

import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome

from api_fleet import START, asking_settings, has_room
from consoles import Stage, staged
from pages import Page
from presenced.aws.errors import AwsError, Cause
from presenced.events.message import Message
from presenced.events.model import DISCONNECT_REASONS
from presenced.presence import Client, State
from presenced.system.supervision import Readiness, Unreceived
from waiting import wait_for


@pytest.fixture
def stage() -> Iterator[Stage]:
    with staged() as made:
        yield made


def test_an_empty_fleet_says_so(page: Page) -> None:
    page.open()
    page.wait_for_text("#list-note", "No client is known yet.")
    page.wait_for_text(
        "#standout", "No client has been seen yet. A client is seen when it connects"
    )
    assert seen(page, "#hero") == seen(page, "#breakdown") == []
    assert page.one("#recent-note").is_displayed()
    page.open("#/recent")
    page.wait_for_text("#all-recent-note", "Nothing yet: no client")
    page.open("#/flapping")
    page.wait_for_text(
        "#flapping-lead", "No client was disconnected or refused often in the last hour."
    )
    assert seen(page, "#flapping-table") == []
    page.open("#/daemon")
    page.wait_for_text("#meaning", "No client is in doubt")
    assert seen(page, "#aws, #aws-title") == []  # and no word of AWS, which the broker may not be
    assert "AWS" not in page.text("#daemon")


def seen(page: Page, selector: str) -> list[str]:
    """The texts of what is displayed."""
    return [each.text for each in page.all(selector) if each.is_displayed()]


def level(page: Page) -> str | None:
    """How loud the state of the daemon is."""
    return page.one("#state").get_attribute("data-level")


def be(stage: Stage, text: str, *, ready: bool = False) -> None:
    """Let the daemon be ready or not, with what `/-/ready` says."""
    stage.fleet.readiness = Readiness(ready=ready, text=text)


CUT_OFF = (
    "presenced cannot tell whether devices are affected. Check first whether other clients of the"
    " MQTT broker work: if they do, only presenced is cut off; if not, the devices probably are,"
    " too. Whether events are lost meanwhile is known once presenced receives them again."
)


def test_while_the_daemon_is_not_ready_nothing_looks_live(page: Page, stage: Stage) -> None:
    be(stage, "presenced: <b>no</b> broker\npresenced-2: refused. Try again.")
    page.open()
    page.wait_for_text("#link", "Not ready")
    assert page.one("#link .mark").get_attribute("data-state") == "offline"
    page.wait_for_text("#state-line", "Not receiving events")
    assert level(page) == "down"
    assert page.texts("#state-details li") == [
        "MQTT connection presenced: <b>no</b> broker.",
        "MQTT connection presenced-2: refused. Try again.",
        CUT_OFF,
    ]
    be(stage, "starting")
    page.open()
    page.wait_for_text("#state-details", "Starting.")
    assert page.barriers() == []


def test_while_nothing_is_received_the_numbers_are_old_and_any_client_may_have_changed(
    page: Page, stage: Stage
) -> None:
    def began() -> None:
        fleet = stage.fleet
        fleet.hear("connected", at=1)
        for second in (59, 119, 179):
            fleet.wait(second)
            fleet.api.check()
        fleet.readiness = Readiness(ready=False, text="presenced: no broker")
        fleet.wait(180)
        fleet.api.check()
        fleet.wait(180 + 600)

    stage.call(began)
    page.open()
    page.wait_for_text("#share-old", "As of 22:16:20: no events for 10 min.")
    told = (
        "The states are those of 22:16:20 UTC: presenced cannot tell whether devices are affected"
    )
    assert told in page.text("#state-details")
    assert page.driver.title == "Not receiving events · presenced"
    page.wait(lambda: page.all("#trend .missing"))
    assert page.barriers() == []
    page.open("#/daemon")
    page.wait_for_text("#meaning", told)
    assert "No client is in doubt" not in page.text("#daemon")
    stage.fleet.readiness = Readiness(ready=False, text="catching up: 9 wait", catching_up=True)
    page.open("#/daemon")
    page.wait_for_text("#meaning", "Until presenced has caught up, states may be old")
    be(stage, "ready", ready=True)
    page.open()
    page.wait_for_text("#share-now", "100 % online")
    assert seen(page, "#share-old") == []
    page.open("#/daemon")
    page.wait_for_text("#meaning", "No client is in doubt.")


DISCONNECTS = "$aws/events/presence/disconnected/#"


def test_while_a_part_of_the_events_is_not_received_the_rest_is_not_old(
    page: Page, stage: Stage
) -> None:
    def began() -> None:
        fleet = stage.fleet
        fleet.hear("connected", at=1)
        fleet.api.check()
        fleet.wait(60)

    stage.call(began)
    lost = Unreceived([DISCONNECTS], connects=False, disconnects=True)
    stage.fleet.readiness = Readiness(ready=False, text="presenced-2: lost", unreceived=lost)
    page.emulate(width=360, scheme="dark")
    page.open()
    page.wait_for_text("#state-line", f"Receiving events, except {DISCONNECTS} since 22:14:20")
    assert level(page) == "unsure"
    doubt = (
        "Clients shown as online may be offline: not all disconnects have been received since"
        " 22:14:20 UTC."
    )
    assert page.texts("#state-details li")[0] == "MQTT connection presenced-2: lost."
    assert page.texts("#state-details li")[1].startswith(doubt)
    assert page.text("#share-old") == doubt
    assert page.driver.title == "100\xa0% online · presenced"
    assert not page.all("body.old")
    assert page.run("return document.documentElement.scrollWidth") <= 360
    assert page.barriers() == []
    page.open("#/clients/a")
    page.wait_for_text("#client-old", doubt)
    assert page.text("#badge") == "online for 59 s"
    things = Unreceived(["$aws/events/thing/#"], connects=False, disconnects=False)
    stage.fleet.readiness = Readiness(ready=False, text="presenced-2: lost", unreceived=things)
    page.open("#/clients/a")
    page.wait_for_text("#state-details", "The states of the clients are those of now")
    assert seen(page, "#client-old") == []
    page.open()
    page.wait_for_text("#share-now", "100 % online")
    assert seen(page, "#share-old") == []


def test_a_client_is_shown_as_of_when_events_were_last_received(page: Page, stage: Stage) -> None:
    def began() -> None:
        fleet = stage.fleet
        fleet.hear("connected", at=1)
        fleet.wait(60)
        fleet.api.check()
        be(stage, "presenced: no broker")
        fleet.wait(70)
        fleet.api.check()
        fleet.wait(70 + 600)

    stage.call(began)
    page.open("#/clients/a")
    page.wait_for_text("#client-old", "As of 22:14:30: no events for 10 min.")
    assert page.text("#badge") == "online since 22:13:21"
    assert page.text("#span") == "22:13:21 online 100 % of 69 s 22:14:30"
    lost = Readiness(ready=False, text="presenced: no broker", missing_since=START - 60)
    stage.fleet.readiness = lost  # what had waited since then was cut off half-way
    page.open("#/clients/a")
    page.wait_for_text("#client-old", "As of 22:12:20: no events for 12 min.")
    assert page.text("#span") == "22:13:21 22:13:21"
    assert page.barriers() == []
    page.open("#/clients/nobody")
    page.wait_for_text("#notices", "The client is not known")
    assert seen(page, "#client-old") == []
    be(stage, "ready", ready=True)
    page.open("#/clients/a")
    page.wait_for_text("#badge", "online for 11 min")
    assert seen(page, "#client-old") == []


def test_catching_up_is_told_with_what_that_means(page: Page, stage: Stage) -> None:
    text = "catching up with messages queued meanwhile: presenced"
    stage.fleet.readiness = Readiness(ready=False, text=text, catching_up=True)
    page.open()
    page.wait_for_text("#link", "Catching up")
    page.wait_for_text("#state-line", "Catching up")
    assert level(page) == "unsure"
    assert page.text("#state-details") == (
        "Catching up with messages queued meanwhile: presenced."
        " Until presenced has caught up, states may be old, and no client goes offline."
    )
    be(stage, "ready: every connection is up, every filter granted", ready=True)
    page.open()
    page.wait_for_text("#link", "Live")
    page.wait_for_text("#state-line", "Receiving events")
    assert level(page) == "well"
    assert page.text("#state-details") == page.text("#notices") == ""
    page.open("#/daemon")
    page.wait_for_text("#readiness", "Every connection is up, every filter granted.")


def test_what_is_wrong_with_a_ready_daemon_is_told(page: Page, stage: Stage) -> None:
    text = "ready: all is up\npresenced: events come at QoS 0\nthe state file is full"
    be(stage, text, ready=True)
    page.open()
    page.wait_for_text("#link", "Live")
    page.wait_for_text("#state-details", "MQTT connection presenced: events come at QoS 0.")
    assert page.text("#state-details").endswith("The state file is full.")
    assert level(page) == "unsure"


def test_what_is_wrong_with_kafka_is_no_connection_of_mqtt(page: Page, stage: Stage) -> None:
    be(stage, "consumer group: no answer\npartition 3: refused")
    page.open()
    page.wait_for_text("#state-details", "Consumer group: no answer. Partition 3: refused.")


def test_the_broker_goes_down_while_the_page_is_open(page: Page, stage: Stage) -> None:
    page.open()
    page.wait_for_text("#link", "Live")
    be(stage, "presenced: no broker")
    stage.call(lambda: stage.fleet.hear("connected", at=1))  # the page looks again
    page.wait_for_text("#link", "Not ready")
    be(stage, "ready", ready=True)
    stage.call(lambda: stage.fleet.hear("connected", "b", at=2))
    page.wait_for_text("#link", "Live")


def test_a_client_that_is_not_known_has_no_empty_parts(page: Page, stage: Stage) -> None:
    stage.call(lambda: stage.fleet.hear("connected", at=1))
    page.open("#/clients/unknown")
    page.wait_for_text("#notices", "The client is not known")
    assert page.text("#device-title") == "unknown"
    assert seen(page, "#client h2") == []
    page.open("#/clients/a")
    page.wait_for_text("#badge", "online")
    assert seen(page, "#client h2") == ["Timeline", "Facts", "Last event of each type"]
    page.driver.execute_script("location.hash = '#/clients/unknown'")
    page.wait_for_text("#notices", "The client is not known")
    assert seen(page, "#client h2") == []


def test_a_list_without_clients_has_no_heads_of_columns(page: Page, stage: Stage) -> None:
    page.open()
    page.wait_for_text("#list-note", "No client is known yet.")
    assert seen(page, "#clients th") == []
    stage.call(lambda: stage.fleet.hear("connected", at=1))
    page.wait(lambda: "Client ID" in seen(page, "#clients th"))


def lose(stage: Stage, name: str, reason: str, at: float) -> None:
    """Let a client come, with a thing and a group, and go for this reason."""
    fleet = stage.fleet

    def act() -> None:
        fleet.hear("connected", name, at=at)
        fleet.thing(name, at, thingTypeName="environment-sensor")
        fleet.join(name, "building-seven-north", at)
        fleet.hear("disconnected", name, at=at + 9, disconnectReason=reason)
        fleet.wait(at + 90)

    stage.call(act)


def test_every_reason_of_disconnects_has_its_number(page: Page, stage: Stage) -> None:
    for number, reason in enumerate(DISCONNECT_REASONS):
        for each in range(number + 1):
            lose(stage, f"c-{number}-{each}", reason, 2000 * number + 100 * each)
    page.open("#/daemon")
    page.wait_for_text("#totals", "Disconnects")
    counted = [f"{number} {{}} · {reason}" for number, reason in enumerate(DISCONNECT_REASONS, 1)]
    shown = page.texts(".disconnects li")
    assert [re.sub("^([0-9]+) [^·]+ ·", "\\1 {} ·", each) for each in shown] == counted[::-1]


@pytest.mark.parametrize("width", [1200, 1000, 700, 360])
def test_a_reason_breaks_between_its_words(page: Page, stage: Stage, width: int) -> None:
    page.emulate(width=width)
    for number, reason in enumerate(DISCONNECT_REASONS):
        lose(stage, f"a-rather-long-client-id-{number}", reason, 100 * number)
    page.open()
    page.wait(lambda: len(page.all("#clients tbody th")) == len(DISCONNECT_REASONS))
    at = "td.why" if width > 600 else "tr.narrow td"
    assert {each.partition(" · ")[2] for each in page.texts(at)} == set(DISCONNECT_REASONS)
    words = {word for each in DISCONNECT_REASONS for word in re.split("(?<=_)", each)}
    lines = page.run(LINES, f"{at} .code")
    assert {word for line in lines for word in re.split("(?<=_)", line) if word} <= words
    assert page.run("return document.documentElement.scrollWidth - innerWidth") <= 0


LINES = """
// The lines of each element as they are laid out.
return [...document.querySelectorAll(arguments[0])].flatMap((element) => {
  const lines = [];
  let top = null;
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    for (let at = 0; at < walker.currentNode.length; at++) {
      const range = document.createRange();
      range.setStart(walker.currentNode, at);
      range.setEnd(walker.currentNode, at + 1);
      const box = range.getBoundingClientRect();
      if (top === null || Math.abs(box.top - top) > 3) lines.push("");
      top = box.top;
      lines[lines.length - 1] += range.toString();
    }
  }
  return lines;
})
"""


def test_groups_that_are_left_out_are_counted(page: Page, stage: Stage) -> None:
    def join() -> None:
        stage.fleet.thing("a", 1)
        for number in range(10):
            stage.fleet.join("a", f"group-number-{number}", 1)

    stage.call(join)
    page.open()
    shown = [f"group-number-{number}" for number in range(3)]
    page.wait_for_text("#clients tbody", f"{', '.join(shown)} and 7 more")


def test_a_client_after_a_gap_is_in_doubt(page: Page, stage: Stage) -> None:
    stage.call(lambda: stage.fleet.hear("connected", at=1))
    stage.call(lambda: stage.fleet.presence.note_gap(stage.fleet.now))
    page.open("#/daemon")
    page.wait_for_text(
        "#meaning",
        "1 client is in doubt (1 online): events may have been lost, last at 22:13:21 UTC."
        " The next event of a client confirms its state.",
    )
    page.one("#state-line a").click()
    page.wait_for_text("#clients tbody", "in doubt")
    assert page.text("#state-line a") == "1 in doubt"
    assert level(page) == "well"  # nothing is to be done: it must not be loud
    assert page.one("#in_doubt").is_selected()
    page.one("#clients tbody a").click()
    page.wait_for_text("#badge", "in doubt")
    assert "In doubt: events may have been lost" in page.text("#story")


def test_a_snapshot_of_aws_ends_the_doubt(browser: Chrome, tmp_path: Path) -> None:
    with staged(settings=asking_settings(tmp_path / "presenced.yaml"), asking=True) as stage:
        page = Page(browser, stage.url)
        fleet = stage.fleet
        page.emulate()
        stage.call(lambda: fleet.hear("connected", "a", at=1))
        stage.call(lambda: fleet.hear("connected", "b", at=1))
        stage.call(lambda: fleet.presence.note_gap(fleet.now))
        page.open("#/daemon")
        page.wait_for_text(
            "#meaning",
            "2 clients are in doubt (2 online): events may have been lost, last at 22:13:21 UTC, or"
            " AWS has not confirmed the state. The next snapshot of AWS's record confirms it; none"
            " is complete since the start.",
        )
        page.wait_for_text("#aws", "Last snapshot none yet")
        page.wait_for_text("#state-line", "AWS's record: no snapshot since the start. 2 in doubt")

        def snapshot() -> None:
            last = fleet.reconciler.snapshots
            fleet.asked("a", connected=True, since=1, at=500)
            fleet.asked("b", connected=False, since=400, at=500, reason="CONNECTION_LOST")
            last.completed_at, last.duration, last.things = fleet.now, 1.5, 250
            denied = AwsError(Cause.DENIED, "GetConnection", "not allowed", status=403)
            fleet.reconciler.counts.count("GetConnection", denied)

        stage.call(snapshot)
        page.driver.refresh()
        page.wait_for_text("#aws", "Last snapshot 250 things, 22:21:40")
        assert page.text("#notices") == ""
        assert "Corrected 0 to online, 1 to offline" in page.text("#aws")
        assert "Failed requests GetConnection denied 1" in page.text("#aws")
        assert re.search("AWS's record: compared [0-9]+ s ago.$", page.text("#state-line"))
        page.open("#/clients/b")
        page.wait_for_text("#story", "AWS's record (SearchIndex), asked at 2023-11-14 22:21:40 UTC")
        assert "By AWS's record 22:20:00" in page.text("#facts")
        assert page.text("#timeline").startswith(
            "22:21:40 AWS's record corrected it: offline. SearchIndex"
        )


def test_a_lookup_before_a_client_goes_offline_is_told(browser: Chrome) -> None:
    with staged(asking=True) as stage:
        page = Page(browser, stage.url)
        fleet = stage.fleet
        page.emulate()
        stage.call(lambda: fleet.hear("connected", at=1))
        stage.call(lambda: fleet.hear("disconnected", at=10, disconnectReason="CONNECTION_LOST"))
        stage.call(lambda: fleet.wait(15.5))
        page.open("#/clients/a")
        page.wait_for_text("#story", "AWS has been asked whether it is connected")
        operation = "GetThingConnectivityData"
        stage.call(lambda: fleet.asked("a", connected=True, since=12, at=16, operation=operation))
        page.open("#/clients/a")
        page.wait_for_text("#story", "it would have gone offline, but AWS")
        page.wait_for_text("#timeline", "AWS answered that it is connected: it stayed online.")
        assert page.text("#badge").startswith("online")
        stage.call(lambda: fleet.hear("connected", version=2, at=30))
        stage.call(lambda: fleet.hear("disconnected", version=2, at=40))
        stage.call(lambda: fleet.wait(60))
        page.open("#/clients/a")
        page.wait_for_text("#story", "In doubt: AWS should have been asked")
        page.wait_for_text("#timeline", "AWS could not be asked, or did not answer in time.")


def test_what_came_before_is_not_remembered(page: Page, stage: Stage) -> None:
    stage.call(lambda: stage.fleet.hear("connected", at=0))
    for version in range(1, 15):
        at = 10 * version
        stage.call(lambda: stage.fleet.hear("disconnected", version=version, at=at))  # noqa: B023
        stage.call(lambda: stage.fleet.hear("connected", version=version + 1, at=at + 1))  # noqa: B023
    page.open("#/clients/a")
    page.wait_for_text("#bounds", "Earlier events are no longer remembered.")
    assert len(page.all("#timeline li")) == 20
    # Twenty events do not tell of fourteen.
    assert "reconnected within the offline delay 10 times" in page.text("#story")
    assert len(page.all("#presence span")) == 20


def test_a_pending_client_has_a_deadline_and_then_goes_offline(page: Page, stage: Stage) -> None:
    stage.call(lambda: stage.fleet.hear("connected", at=0))
    lost = {"disconnectReason": "CONNECTION_LOST"}
    stage.call(lambda: stage.fleet.hear("disconnected", at=10, happened=6, **lost))
    page.open("#/clients/a")
    page.wait_for_text("#facts", "Next change goes offline at 22:13:35")
    page.open()
    page.wait_for_text("#share-pending", "of these 1 pending")
    page.open("#/clients/a")
    page.wait_for_text("#facts", "Next change")
    assert "came 4 s late" in page.text("#timeline li")

    def hold() -> None:
        stage.fleet.hold_after = stage.fleet.now

    stage.call(hold)
    page.open("#/clients/a")
    page.wait_for_text("#facts", "Next change goes offline once presenced has caught up")
    stage.fleet.hold_after = math.inf
    stage.call(lambda: stage.fleet.wait(60))
    page.wait_for_text("#badge", "offline")
    page.wait_for_text("#timeline li", "Offline: it did not reconnect within 5 s.")


def test_after_a_start_without_events_what_is_shown_is_that_of_the_state_file(
    page: Page, stage: Stage
) -> None:
    def began() -> None:
        fleet = stage.fleet
        restored = Client("a", State.OFFLINE, since=START - 60, transition=START - 60)
        fleet.pipeline.fleet.restore(restored, START - 60, ())
        fleet.pipeline.recount()

    stage.call(began)
    be(stage, "presenced: no broker")
    page.open()
    page.wait_for_text("#share-old", "From the state file: no events since presenced started.")
    assert f"The states are those of the state file: {CUT_OFF}" in page.texts("#state-details li")
    page.open("#/clients/a")
    page.wait_for_text("#client-old", "From the state file: no events since presenced started.")
    assert page.text("#badge") == "offline since 22:12:20"
    assert page.barriers() == []


def test_a_page_that_cannot_follow_says_so_and_is_renewed(page: Page, stage: Stage) -> None:
    hub = stage.fleet.hub
    others = stage.call(lambda: [hub.subscribe(lambda _: True) for _ in range(32)])
    page.open()
    page.wait_for_text("#notices", "This page is not live: the maximum number of streams")
    page.wait_for_text("#link", "Not live")
    stage.call(lambda: stage.fleet.hear("connected", at=1))
    page.run("location.hash = '#/clients/a'")
    page.wait_for_text("#client-old", "As of 22:13:21: this page is not live.")
    stage.call(lambda: [hub.unsubscribe(each) for each in others])
    page.wait_for_text("#link", "Live")
    assert page.text("#notices") == ""
    page.wait_for_text("#badge", "online for")
    assert seen(page, "#client-old") == []


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
    page.wait_for_text("#recent li", "meanwhile")


def test_a_flood_is_one_line_that_opens(page: Page, stage: Stage) -> None:
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
    page.wait(lambda: len(page.all("#recent > li")) == 1 and page.all("#recent > .mass"))
    assert "1,500 clients online" in page.text("#recent summary")
    page.wait_for_text("#numbers", "online 1,500")
    page.one("#recent summary").click()
    page.wait_for_text("#recent .mass", "The first 100 of 1,500 clients, as they are now:")
    assert len(page.texts("#recent .mass .members a")) == 100
    stage.call(lambda: stage.fleet.hear("connected", "later", at=100))
    page.wait_for_text("#recent", "later")
    page.wait_for_text("#numbers", "online 1,501")
    assert page.one("#recent details").get_attribute("open")  # it stays open while the list grows


def test_the_console_works_below_a_path(browser: Chrome) -> None:
    with staged("/fleets/one/") as stage:
        stage.call(lambda: stage.fleet.hear("connected", "a/b%", at=1))
        page = Page(browser, stage.url)
        page.forget()
        page.open()
        page.wait_for_text("#link", "Live")
        page.wait(lambda: page.texts("#clients tbody th") == ["a/b%"])
        page.one("#clients tbody a").click()
        page.wait_for_text("#badge", "online")
        links = [link.get_attribute("href") for link in page.all("a[href]")]
        assert all(link.startswith(stage.url) for link in links)
        stage.call(lambda: stage.fleet.hear("connected", "b", at=2))
        page.driver.back()
        page.wait_for_text("#recent", "b")
        assert page.complaints() == []


def test_a_certificate_that_expires_is_told_on_all_pages(page: Page, stage: Stage) -> None:
    page.open("#/daemon")
    page.wait_for_text("#link", "Live")
    assert seen(page, "#certificates, #certificates-title") == []
    expired = stage.fleet.now - 60
    stage.fleet.certificate_expiry = {"client": expired, "ca": stage.fleet.now + 400.5 * 86400}
    for place in ("", "#/recent", "#/flapping", "#/daemon"):
        page.open(place)
        page.wait_for_text("#notices", "presenced's client certificate expired on 2023-11-14 22:12")
    page.wait_for_text("#certificates", "Client certificate 22:12:20 expired")
    assert "CA certificate 2024-12-19 10:13:20 400 d left" in page.text("#certificates")
    stage.fleet.certificate_expiry = {"ca": stage.fleet.now + 355_414 * 86400}
    page.open()
    page.wait_for_text("#link", "Live")
    assert page.text("#notices") == ""
    page.open("#/daemon")
    page.wait_for_text("#certificates", "CA certificate 2996-12-16 22:13:20")
    assert "left" not in page.text("#certificates")
