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
    page.one("#thing_type").send_keys("pump")
    page.wait(lambda: "thing_type=pump&thing_group=" in page.driver.current_url)
    page.one("#clear").click()
    page.wait(lambda: len(page.texts("#clients tbody th")) == 2)
