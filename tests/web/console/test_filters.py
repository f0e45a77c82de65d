"""The filters of the list of clients."""

from collections.abc import Iterator

import pytest

from consoles import Stage, staged
from pages import Page


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged() as made:
        yield made


@pytest.mark.parametrize("key", ["contains", "prefix", "thing", "thing_type", "thing_group"])
def test_any_is_a_name_where_there_are_names(page: Page, key: str) -> None:
    page.open()
    script = """
        const [key, done] = arguments;
        import(new URL("filters.js", location)).then(({ isFiltered, parametersOf }) => {
          const query = new URLSearchParams({ [key]: "any" });
          done([isFiltered(query), parametersOf(query).get(key)]);
        });
    """
    assert page.driver.execute_async_script(script, key) == [True, "any"]


def test_text_that_is_being_typed_outlives_an_update_of_the_page(page: Page) -> None:
    page.open()
    script = """
        const done = arguments[0];
        import(new URL("filters.js", location)).then(({ complete, FilterForm }) => {
          const form = new FilterForm(() => {}, 100000);
          const query = new URLSearchParams();
          form.show(query, complete(query, 0));
          const field = document.getElementById("contains");
          field.value = "pum";
          field.dispatchEvent(new Event("input", { bubbles: true }));
          form.show(query, complete(query, 0));
          done(field.value);
        });
    """
    assert page.driver.execute_async_script(script) == "pum"


def test_each_name_is_suggested_once(page: Page) -> None:
    page.open()
    script = """
        const done = arguments[0];
        import(new URL("filters.js", location)).then(({ FilterForm }) => {
          const list = document.getElementById("groups");
          list.replaceChildren();
          const names = [...Array(100).fill("hall-1"), "hall-2"];
          new FilterForm(() => {}, 0).suggest([], names, []);
          done([...list.children].map((each) => each.value));
        });
    """
    assert page.driver.execute_async_script(script) == ["hall-1", "hall-2"]


def test_clients_without_a_type_stay_selected_when_another_filter_changes(
    page: Page, stage: Stage
) -> None:
    def began() -> None:
        stage.fleet.thing("typed", at=0, thingTypeName="pump")
        for name in ("typed", "plain"):
            stage.fleet.hear("connected", name, at=1)

    stage.call(began)
    page.open("#/?thing_type=&thing_group=&state=any")
    page.wait(lambda: page.texts("#clients tbody th") == ["plain"])
    assert page.one("#thing_type").get_attribute("placeholder") == "none"
    page.one("#contains").send_keys("l")
    page.wait(lambda: "contains=l" in page.driver.current_url)
    assert "thing_type=&thing_group=" in page.driver.current_url
    page.wait(lambda: page.texts("#clients tbody th") == ["plain"])
    page.one("#more-filters summary").click()
    page.one("#thing_type").send_keys("pump")
    page.wait(lambda: "thing_type=pump&thing_group=" in page.driver.current_url)
    assert page.texts("#active .chip") == [
        "ID contains l \N{MULTIPLICATION SIGN}",
        "thing type pump \N{MULTIPLICATION SIGN}",
        "no group \N{MULTIPLICATION SIGN}",
    ]
    page.one("#clear").click()
    page.wait(lambda: len(page.texts("#clients tbody th")) == 2)
    assert page.texts("#active") == [""]


def test_each_filter_that_is_on_has_words_and_is_removed_by_itself(page: Page) -> None:
    query = (
        "state=offline&reason=CONNECTION_LOST&offline_for=1h&in_doubt=true&thing=t&class=hall:1"
        "&class=line:2&thing_group=g%E2%80%AE"
    )
    page.open(f"#/?{query}&cursor=")
    page.wait_for_text("#active", "Filtered by")
    words = [each.removesuffix(" \N{MULTIPLICATION SIGN}") for each in page.texts("#active .chip")]
    assert words == [
        "group g\\u{202e}",
        "class hall:1",
        "class line:2",
        "offline",
        "connection lost",
        "offline longer than 1 hour",
        "in doubt",
        "thing t",
    ]
    assert page.text("#more-filters summary") == "More filters (5 on)"
    assert page.one(".chip").accessible_name == "Remove the filter group g\\u{202e}"
    page.all(".chip")[1].click()
    page.wait(lambda: len(page.all("#active .chip")) == 7)
    assert "class line:2" in page.text("#active")
    assert "cursor" not in page.driver.current_url
    assert page.barriers() == []
