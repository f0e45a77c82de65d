"""The opening page of a plant in which a hall has lost its connection, and where it leads to."""

import re
from collections.abc import Iterator

import pytest
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.actions import interaction
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.actions.pointer_input import PointerInput
from selenium.webdriver.common.keys import Keys

from consoles import Stage, staged
from incidents import MINUTES, devices_of, play
from pages import Page
from presenced.presence import PresenceRules

IDS = "#clients tbody th"


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged(
        rules=PresenceRules(offline_delay=5.0),
        metrics={"client_id_pattern": "(?P<hall>hall-[0-9]+)-.*"},
    ) as made:
        made.call(lambda: play(made.fleet), timeout=60)
        yield made


def test_one_look_answers_the_three_questions(page: Page) -> None:
    page.open()
    page.wait_for_text("#state-line", "Receiving events since 22:14:19")
    assert page.one("#state").get_attribute("data-level") == "well"
    page.wait_for_text("#share-now", "80.7 % online")
    assert re.match(r"An hour ago 9[0-9.]+ % ▼ 1[0-9.]+ points", page.text("#compared"))
    assert "A day ago no record" in page.text("#compared")
    assert re.match(
        "hall-3: 66.7 % offline since 03:44 UTC, connection lost", page.text("#standout")
    )
    assert page.driver.title == "80.7\xa0% online · presenced"
    fought, refused = page.texts("#devices li")
    assert re.match(
        "hall-1-sensor-001: taken over [45]. times in the last hour,"
        " beginning between 03:20 and 03:30 UTC: two",
        fought,
    )
    assert re.match(
        "gateway-0034: 2. connects refused in the last hour, beginning between 03:20 and 03:30 UTC",
        refused,
    )
    assert page.text("#breakdown section:last-child li") == "hall-3 66.7 % 50 of 75"
    assert page.text("#list-title") == "Who went offline last"
    page.wait(lambda: len(page.texts(IDS)) == 50)
    assert page.texts(IDS)[0] in devices_of("hall-3")
    page.wait(lambda: page.all("#recent .mass"))
    mass = "03:44:45 50 clients offline within 16 s, CONNECTION_LOST, 100 % in hall-3"
    assert page.texts("#recent .mass summary")[0] == mass
    assert len(page.all("#recent > li:not(.mass)")) == 12


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 1000, 700, 360])
def test_an_incident_keeps_no_one_out(page: Page, scheme: str, width: int) -> None:
    page.emulate(width=width, scheme=scheme)
    page.open()
    page.wait_for_text("#share-now", "online")
    page.wait(lambda: page.all("#recent .mass"))
    page.run("for (const each of document.querySelectorAll('details')) each.open = true")
    assert page.barriers() == []
    assert page.run("return document.documentElement.scrollWidth") <= width
    assert page.run("return document.querySelector('#trend svg').clientWidth") <= width
    page.wait(lambda: page.texts(IDS))
    words = "connection lost · CONNECTION_LOST"
    seen = [each for each in page.all("#clients .reason") if each.is_displayed()]
    assert " ".join(seen[0].text.split()) == words
    assert len(seen) == len(page.texts(IDS))


def test_the_standout_leads_to_its_clients(page: Page) -> None:
    page.open()
    page.wait_for_text("#standout", "hall-3")
    page.one("#standout a").click()
    # The list may have had the same clients before.
    page.wait(lambda: page.one("#thing_group").get_attribute("value") == "hall-3")
    page.wait(lambda: set(page.texts(IDS)) == set(devices_of("hall-3")[:50]))
    assert page.texts("#active .chip") == [
        "group hall-3 \N{MULTIPLICATION SIGN}",
        "offline \N{MULTIPLICATION SIGN}",
    ]
    assert page.text("#list-title") == "Clients that match"
    page.wait(lambda: page.driver.switch_to.active_element == page.one("#list-title"))
    page.one("#clear").click()
    page.wait(lambda: page.one("#thing_group").get_attribute("value") == "")


TOP_OF_LIST = "return document.querySelector('#list-title').getBoundingClientRect().top"


@pytest.mark.parametrize("width", [1200, 360])
def test_a_link_to_the_list_shows_the_list_each_time(page: Page, width: int) -> None:
    page.emulate(width=width, height=600)
    page.open()
    page.wait_for_text("#standout", "hall-3")
    page.wait(lambda: page.texts(IDS))
    for _ in range(2):
        page.run("scrollTo(0, 0)")
        assert page.run(TOP_OF_LIST) > 600
        page.one("#standout a").click()
        page.wait(lambda: 0 <= page.run(TOP_OF_LIST) < 100)
        assert page.driver.switch_to.active_element == page.one("#list-title")
    assert page.one("#active").is_displayed()


def test_a_filter_that_is_typed_does_not_move_the_page(page: Page) -> None:
    page.emulate(height=600)
    page.open()
    page.wait(lambda: page.texts(IDS))
    page.one("#contains").send_keys("hall-3-sensor-000")
    before = page.run("return scrollY")
    page.wait(lambda: page.texts(IDS) == ["hall-3-sensor-000"])
    assert page.driver.switch_to.active_element == page.one("#contains")
    assert page.run("return scrollY") == before


def test_a_class_is_offered_as_a_filter(page: Page) -> None:
    page.open("#/?state=any")
    page.wait(lambda: page.texts(IDS))
    page.one("#more-filters summary").click()
    page.wait(page.one("#class-field").is_displayed)
    page.one("#class").send_keys("hall:hall-2")
    page.wait(lambda: set(page.texts(IDS)) <= set(devices_of("hall-2")))
    assert page.driver.switch_to.active_element == page.one("#class")
    assert "class=hall%3Ahall-2" in page.driver.current_url


def chart(page: Page) -> str:
    page.wait(lambda: page.all("#trend svg"))
    return page.one("#trend svg").get_attribute("aria-label") or ""


def test_the_chart_has_the_loss_and_where_nothing_is_known(page: Page) -> None:
    page.open()
    page.wait_for_text("#share-now", "online")
    assert "Most went offline at 03:45: 50 in a minute." in chart(page)
    assert re.search("highest 19.3.% at 03:45", chart(page))
    assert page.text("#trend-title") == "Last six hours"
    labels = page.run(
        "return [...document.querySelectorAll('#trend text')].map(e => e.textContent)"
    )
    assert labels.count("no record") == 1
    assert {"0\xa0%", "10\xa0%", "20\xa0%"} <= set(labels)
    assert {"↑ share offline", "↑ to offline, clients a minute (log scale)"} <= set(labels)
    assert (labels.count("100"), labels.count("10")) == (2, 2)


def test_bars_after_a_mass_connect_are_still_seen(page: Page) -> None:
    """300 connects in a minute, and 50 disconnects in another: that bar is not flat."""
    page.open()
    page.wait_for_text("#share-now", "online")
    chart(page)
    path = page.one("#trend .to-offline").get_attribute("d") or ""
    highest = max(-float(height) for height in re.findall(r"v(-[0-9.]+)", path))
    whole = float(re.findall(r"v([0-9.]+)", page.one("#trend .to-online").get_attribute("d"))[0])
    assert 0.6 < highest / whole < 0.75


def test_the_chart_tells_the_numbers_of_a_minute(page: Page) -> None:
    page.open()
    page.wait_for_text("#share-now", "online")
    ActionChains(page.driver).move_to_element(page.one("#trend svg")).perform()
    page.wait(
        lambda: re.match(r"01:[0-9]+: [0-9.]+ % online, [0-9]+ offline", page.text("#trend-at"))
    )
    page.one("#list-title").click()
    page.wait(lambda: page.text("#trend-at") == "")


def told(page: Page) -> tuple[str, str]:
    """The numbers that are seen, and those that a screen reader says of the slider."""
    slider = page.one("#trend-minute")
    return page.text("#trend-at"), " ".join((slider.get_attribute("aria-valuetext") or "").split())


def test_the_keyboard_chooses_a_minute_of_the_chart(page: Page) -> None:
    page.open()
    page.wait_for_text("#share-now", "online")
    page.run("document.querySelector('#pause').focus()")
    while page.driver.switch_to.active_element.get_attribute("id") != "trend-minute":
        page.driver.switch_to.active_element.send_keys(Keys.SHIFT, Keys.TAB)
    slider = page.driver.switch_to.active_element
    assert slider.accessible_name == "Minute of the chart"
    page.wait(lambda: told(page)[0].startswith("04:13: 80.7 % online, 58 offline"))
    slider.send_keys(Keys.ARROW_LEFT * 28)
    page.wait(lambda: told(page)[0].startswith("03:46: "))
    assert told(page)[0] == told(page)[1]
    assert page.all("#trend .cursor")
    slider.send_keys(Keys.HOME)
    page.wait(lambda: told(page)[0].startswith("22:15: 100 % online, 0 offline; 0 to offline, 300"))
    page.one("#contains").click()
    page.wait(lambda: told(page)[0] == "")
    assert not page.all("#trend .cursor")


def test_a_finger_chooses_a_minute_of_the_chart(page: Page) -> None:
    page.emulate(width=360)
    page.open()
    page.wait_for_text("#share-now", "online")
    chart(page)
    top = page.run("return document.querySelector('#trend').offsetTop")
    touch = ActionBuilder(page.driver, mouse=PointerInput(interaction.POINTER_TOUCH, "finger"))
    touch.pointer_action.move_to(page.one("#trend svg"), 20, 0).pointer_down()
    touch.pointer_action.move_to(page.one("#trend svg"), 60, 0).pointer_up()
    touch.perform()
    page.wait(lambda: re.match("0[23]:[0-9]+: [0-9.]+ % online", told(page)[0]))
    assert told(page)[0] == told(page)[1]
    assert page.run("return document.querySelector('#trend').offsetTop") == top


def test_a_device_that_is_fought_over_is_not_only_online(page: Page) -> None:
    page.open()
    page.wait(lambda: page.all("#devices a"))
    page.all("#devices a")[1].click()
    page.wait(lambda: page.all("#flapping-table tbody tr"))
    page.open()
    page.wait(lambda: page.all("#devices a"))
    page.one("#devices a").click()
    page.wait_for_text("#badge", "online for")
    page.wait_for_text("#badge .trouble", "two devices may use this client ID")


def test_a_device_is_not_alone(page: Page) -> None:
    page.open("#/clients/hall-3-sensor-000")
    page.wait_for_text("#company", "Not alone: 50 of 75 things in hall-3 are offline (66.7 %)")
    assert page.text("#badge").startswith("offline for")
    page.one("#company a").click()
    page.wait(lambda: set(page.texts(IDS)) == set(devices_of("hall-3")[:50]))


def test_flapping_and_fighting_clients_have_names(page: Page) -> None:
    page.open("#/flapping")
    page.wait(lambda: page.all("#flapping-table tbody tr"))
    rows = page.texts("#flapping-table tbody tr")
    assert re.match(r"hall-1-sensor-000 [45][0-9] 0 ", rows[0])
    assert re.match(r"hall-1-sensor-001 0 [45][0-9] ", rows[1])
    assert re.match(r"gateway-0034 0 0 2[0-9] 0 never seen online", rows[2])
    page.emulate(width=360)
    assert page.run("return document.documentElement.scrollWidth") <= 360
    wide = "return document.querySelector(arguments[0]).getBoundingClientRect().right"
    assert page.run(wide, "#flapping-table") <= page.run(wide, "#flapping-lead")
    page.one("#flapping-table tbody a").click()
    page.wait_for_text("#device-title", "hall-1-sensor-000")


def test_an_opened_mass_event_says_which_clients_are_back_and_why_the_others_are_not(
    browser: Chrome,
) -> None:
    with staged(rules=PresenceRules(offline_delay=0.0)) as stage:

        def incident() -> None:
            for number in range(12):
                stage.fleet.hear("connected", f"c-{number}", at=0)
            for number in range(12):
                why = "FORBIDDEN_ACCESS" if number else "NEVER_SEEN_BEFORE"
                stage.fleet.hear("disconnected", f"c-{number}", at=100, disconnectReason=why)
            stage.fleet.hear("connected", "c-2", 2, at=200)

        stage.call(incident)
        page = Page(browser, stage.url)
        page.emulate()
        page.open("#/recent")
        page.wait(lambda: page.all("#all-recent .mass"))
        page.one("#all-recent .mass summary").click()
        assert page.texts("#all-recent details[open] .members li")[:3] == [
            "c-0 offline NEVER_SEEN_BEFORE",
            "c-1 offline forbidden by its policy · FORBIDDEN_ACCESS",
            "c-2 online",
        ]
        page.forget()


def test_mass_events_stay_however_much_follows(browser: Chrome) -> None:
    with staged(rules=PresenceRules(offline_delay=0.0)) as stage:

        def incident() -> None:
            for number in range(12):
                stage.fleet.hear("connected", f"c-{number}", at=0)
            for number in range(1100):
                kind = "disconnected" if number % 2 else "connected"
                stage.fleet.hear(kind, "d", number // 2 + 1, at=100 + 11 * number)

        stage.call(incident)
        page = Page(browser, stage.url)
        page.emulate()
        page.open()
        page.wait(lambda: len(page.all("#recent > li:not(.mass)")) == 12)
        assert page.texts("#recent .mass summary")[-1].endswith("12 clients online within 1 s")
        page.forget()


def test_what_happened_is_in_order_and_has_the_times_of_the_list(browser: Chrome) -> None:
    with staged(rules=PresenceRules(offline_delay=90.0)) as stage:

        def incident() -> None:
            for number in range(12):
                stage.fleet.hear("connected", f"c-{number}", at=0)
            for number in range(11):
                stage.fleet.hear("disconnected", f"c-{number}", at=100)
            stage.fleet.hear("disconnected", "c-11", at=300)
            stage.fleet.wait(500)

        stage.call(incident)
        page = Page(browser, stage.url)
        page.emulate()
        page.open()
        page.wait(lambda: len(page.all("#recent > li")) == 3)
        alone, dark, connects = page.texts("#recent > li")
        assert alone == "22:18:20 offline c-11 known at 22:19:50"
        assert dark.startswith("22:15:00 11 clients offline within 1 s")
        assert connects.startswith("22:13:20 12 clients online within 1 s")
        since = page.texts("#clients tbody tr > td.time")
        assert [each[:8] for each in since] == ["22:18:20", *["22:15:00"] * 11]
        page.open("#/recent")
        page.wait(lambda: page.texts("#all-recent > li")[:1] == [alone])
        page.forget()


def test_reasons_that_are_left_out_are_opened(browser: Chrome) -> None:
    with staged(rules=PresenceRules(offline_delay=0.0)) as stage:

        def incident() -> None:
            for number in range(6):
                name = f"d-{number}"
                stage.fleet.thing(name, at=0, thingTypeName=f"type-{number}")
                stage.fleet.hear("connected", name, at=1)
                stage.fleet.hear("disconnected", name, at=2)

        stage.call(incident)
        page = Page(browser, stage.url)
        page.emulate()
        page.open()
        page.wait_for_text("#breakdown details summary", "2 more")
        page.one("#breakdown details summary").click()
        assert len(page.texts("#breakdown details[open] li")) == 2
        page.one("#breakdown details[open] a").click()
        page.wait(lambda: len(page.texts(IDS)) == 1)
        assert page.all("#breakdown details[open]"), "the page was updated meanwhile"
        page.forget()


def test_all_that_happened_is_there_page_by_page(page: Page) -> None:
    page.open("#/recent")
    seen: list[str] = []

    def is_new() -> bool:
        shown = page.texts("#all-recent > li")
        return bool(shown) and shown[-1] not in seen

    while True:
        page.wait(is_new, "the next page")
        seen += page.texts("#all-recent > li")
        if not page.one("#earlier").is_displayed():
            break
        page.one("#earlier").click()
    assert sum("clients offline within" in each for each in seen) == 1
    assert len(seen) > MINUTES / 2
    assert "300 clients online" in seen[-1]
    page.one("#latest").click()
    page.wait(lambda: page.texts("#all-recent > li")[0] == seen[0])


@pytest.mark.parametrize(
    ("kind", "title"), [("mass", "Mass events"), ("transition", "Single clients")]
)
def test_mass_events_and_single_clients_are_apart(page: Page, kind: str, title: str) -> None:
    page.open("#/recent")
    page.wait(lambda: page.all("#all-recent > li"))
    assert page.texts("#kinds [aria-current]") == ["All"]
    is_mass = "document.querySelector('#all-recent > li.mass')"
    is_single = "document.querySelector('#all-recent > li:not(.mass)')"
    one, other = (is_mass, is_single) if kind == "mass" else (is_single, is_mass)
    page.one(f"#kinds a[href$={kind}]").click()
    page.wait(lambda: page.run(f"return {one} && !{other}"))
    assert page.texts("#kinds [aria-current]") == [title]
    assert page.driver.switch_to.active_element == page.one("#history-title")
    page.driver.refresh()
    page.wait(lambda: page.run(f"return {one} && !{other}"))
    assert page.barriers() == []
    if kind == "transition":
        page.one("#earlier").click()
        page.wait_for_text("#latest", "Latest")
        assert page.run(f"return {one} && !{other}")
        page.one("#latest").click()
        page.wait(lambda: not page.one("#latest").is_displayed())
        assert page.driver.current_url.endswith("#/recent?kind=transition")


def test_a_kind_that_there_is_not_lists_all(page: Page) -> None:
    page.open("#/recent?kind=flood")
    page.wait(lambda: page.all("#all-recent > li.mass, #all-recent > li:not(.mass)"))
    assert page.text("#notices") == ""
    assert page.texts("#kinds [aria-current]") == ["All"]


def test_the_page_says_of_many_changes_one_sentence(browser: Chrome) -> None:
    with staged(rules=PresenceRules(offline_delay=0.0)) as stage:
        page = Page(browser, stage.url)
        page.emulate()
        page.open()
        page.wait_for_text("#link", "Live")
        for number in range(5):
            stage.call(lambda n=number: stage.fleet.hear("connected", f"c-{n}", at=n))
        stage.call(lambda: stage.fleet.hear("disconnected", "c-0", at=9))
        page.wait_for_text("#announcer", "1 client went offline. 5 clients went online.")
        page.forget()
